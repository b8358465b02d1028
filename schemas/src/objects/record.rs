//! The members of one record of a notification of any store, as they are in the document.

use std::borrow::Cow;

use crate::json::{Fault, Kind, Reader};
use crate::slot::{Pairs, Size, Slot};

/// The store that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Vendor {
    #[default]
    Unknown,
    Ceph,
    Minio,
    RustFs,
    Scality,
}

impl Vendor {
    /// Reads `eventSource`, or the `source` of CloudEvents around a record, which begins like it.
    pub(crate) fn of(source: &str) -> Self {
        match source.split_once(':') {
            Some(("ceph", _)) => Self::Ceph,
            Some(("minio", _)) => Self::Minio,
            Some(("rustfs", _)) => Self::RustFs,
            Some(("scality", _)) => Self::Scality,
            _ => Self::Unknown,
        }
    }
}

/// One record of a notification.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) name: Slot<'a>,
    pub(crate) time: Slot<'a>,
    pub(crate) version: Slot<'a>,
    pub(crate) bucket: Slot<'a>,
    pub(crate) object: Object<'a>,
    pub(crate) has_s3: bool,
    /// By `eventSource`; `Unknown` for AWS and for every store that copies its name.
    pub(crate) vendor: Vendor,
    /// `opaqueData`, which only Ceph writes.
    pub(crate) is_ceph: bool,
    /// `source` as an object, which only MinIO and RustFS write.
    pub(crate) is_minio: bool,
    /// A document that this record only carries: `body` of a message of SQS, `Sns.Message` of Lambda.
    pub(crate) carried: Slot<'a>,
    /// The record is such a message, and not another one with a `body`.
    pub(crate) is_message: bool,
    /// The text of the record in the document.
    pub(crate) text: &'a str,
    /// Set when the element of `Records` is not an object at all.
    pub(crate) is_not_object: bool,
}

/// The object of a record.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(crate) key: Slot<'a>,
    pub(crate) size: Size,
    pub(crate) etag: Slot<'a>,
    pub(crate) version_id: Slot<'a>,
    pub(crate) sequencer: Slot<'a>,
    pub(crate) content_type: Slot<'a>,
    pub(crate) metadata: Pairs<'a>,
    pub(crate) tags: Pairs<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn read(&mut self, reader: &mut Reader<'a, '_>) -> Result<(), Fault> {
        let start = reader.mark();
        if reader.kind()? == Kind::Object {
            reader.object(|reader, name| self.member(reader, name))?;
        } else {
            self.is_not_object = true;
            reader.skip()?;
        }
        self.text = reader.since(start);
        Ok(())
    }

    pub(crate) fn member(&mut self, reader: &mut Reader<'a, '_>, name: &str) -> Result<(), Fault> {
        match name {
            "eventName" => self.name.read(reader),
            "eventTime" => self.time.read(reader),
            "eventVersion" => self.version.read(reader),
            "opaqueData" => {
                self.is_ceph = true;
                reader.skip()
            }
            "eventSource" => self.read_source(reader),
            "source" => {
                let kind = reader.kind()?;
                self.is_minio |= kind == Kind::Object;
                if kind == Kind::Text { self.read_source(reader) } else { reader.skip() }
            }
            "messageId" | "receiptHandle" => {
                self.is_message = true;
                reader.skip()
            }
            "body" if reader.kind()? == Kind::Object => {
                // A pipe may have resolved the text of the message already.
                let start = reader.mark();
                reader.skip()?;
                self.carried = Slot::Text(Cow::Borrowed(reader.since(start)));
                Ok(())
            }
            "body" => self.carried.read(reader),
            "Sns" if reader.kind()? == Kind::Object => {
                self.is_message = true;
                reader.object(|reader, name| match name {
                    "Message" => self.carried.read(reader),
                    _ => reader.skip(),
                })
            }
            "s3" if reader.kind()? == Kind::Object => {
                self.has_s3 = true;
                reader.object(|reader, name| self.place(reader, name))
            }
            _ => self.place(reader, name),
        }
    }

    /// True for a message that carries a document, which the pipeline opens.
    pub(crate) fn is_message(&self) -> bool {
        self.is_message && self.carried.is_present() && !self.has_s3 && !self.name.is_present()
    }

    fn read_source(&mut self, reader: &mut Reader<'a, '_>) -> Result<(), Fault> {
        if reader.kind()? != Kind::Text {
            return reader.skip();
        }
        let (source, _) = reader.text()?;
        if self.vendor == Vendor::Unknown {
            self.vendor = Vendor::of(source);
        }
        Ok(())
    }

    /// The members of `s3`, which stand in `detail` or `data` without it.
    fn place(&mut self, reader: &mut Reader<'a, '_>, name: &str) -> Result<(), Fault> {
        let kind = reader.kind()?;
        match (name, kind) {
            ("bucket", Kind::Object) => reader.object(|reader, name| match name {
                "name" => self.bucket.read(reader),
                _ => reader.skip(),
            }),
            ("bucket", _) => self.bucket.read(reader),
            ("object", Kind::Object) => reader.object(|reader, name| self.object.member(reader, name)),
            _ => self.object.member(reader, name),
        }
    }
}

impl<'a> Object<'a> {
    fn member(&mut self, reader: &mut Reader<'a, '_>, name: &str) -> Result<(), Fault> {
        match name {
            "key" => self.key.read(reader),
            "size" => self.size.read(reader),
            "eTag" | "etag" => self.etag.read(reader),
            // With an underscore, as RustFS wrote it before its release 1.0.
            "versionId" | "version-id" | "version_id" => self.version_id.read(reader),
            "sequencer" => self.sequencer.read(reader),
            "contentType" | "content_type" => self.content_type.read(reader),
            "userMetadata" | "user_metadata" | "metadata" => self.metadata.read(reader),
            "tags" => self.tags.read(reader),
            _ => reader.skip(),
        }
    }
}
