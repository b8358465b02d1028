//! Reads a document once, whatever its dialect, and tells the dialect from what was found.
//!
//! The dialects share names (`Records`, `time`, `object`) and never use one name for two things at the same place
//! that we read, so one pass can fill one structure. To accept one more dialect: add its members here, its mark to
//! [`Envelope::shape`], and a file under `decode/` that says what it means.

use std::borrow::Cow;

use crate::json::{Fault, Kind, Reader};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::{Pairs, Size, Slot};

/// What some editors and exporters write before a text; it is no part of it.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// What kind of document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `Records` of S3, MinIO, RustFS, Ceph.
    Notification,
    /// One member of such `Records` by itself.
    Record,
    /// What S3 sends when a notification is configured.
    TestEvent,
    EventBridge,
    Sns,
    CloudEvent,
    /// A message of SQS, or of SNS as Lambda gets it, by itself.
    Message,
    /// A message that Pub/Sub pushes.
    PubSub,
}

/// Which store signed a record.
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

/// Everything that is read of a document; members of all dialects side by side.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    /// The members of a bare record, and those of the data of a plain event.
    pub(crate) record: Record<'a>,
    pub(crate) records: Option<Vec<Record<'a>>>,
    pub(crate) records_bad: Option<RefusalReason>,
    /// `EventName`, which only MinIO and RustFS write beside `Records`.
    pub(crate) minio_name: Slot<'a>,
    /// `Event`, which only the test event has.
    pub(crate) test_name: Slot<'a>,
    /// `Type` and `Message` of SNS.
    pub(crate) sns_type: Slot<'a>,
    pub(crate) sns_message: Slot<'a>,
    /// `message.data` of Pub/Sub, in base64.
    pub(crate) pubsub_data: Slot<'a>,
    pub(crate) detail_type: Slot<'a>,
    pub(crate) deletion_type: Slot<'a>,
    pub(crate) specversion: Slot<'a>,
    pub(crate) event_type: Slot<'a>,
    pub(crate) time: Slot<'a>,
    pub(crate) data_base64: Slot<'a>,
    /// `detail` of EventBridge, `data` of CloudEvents.
    pub(crate) inner: Option<Box<Envelope<'a>>>,
    pub(crate) inner_bad: Option<RefusalReason>,
    /// This is the `detail` or `data` of another: what it holds of that name is nobody's, and is passed over.
    is_inner: bool,
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
    /// A document that this only carries: `body` of a message of SQS, `Sns.Message` of Lambda.
    pub(crate) carried: Slot<'a>,
    /// This is such a message, not something else that has a `body`.
    pub(crate) is_message: bool,
    /// The record as it stands in the document.
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

impl<'a> Envelope<'a> {
    /// Reads a payload that is one document.
    pub(crate) fn open(payload: &'a [u8], limits: &Limits) -> Result<Self, Refusal> {
        if payload.len() > limits.record_bytes_max {
            let detail = format!("{} bytes, the limit is {}", payload.len(), limits.record_bytes_max);
            return Err(Refusal::new(RefusalReason::RecordTooLarge, detail));
        }
        let text = std::str::from_utf8(payload)
            .map_err(|error| Refusal::new(RefusalReason::InvalidUtf8, format!("at byte {}", error.valid_up_to())))?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut reader = Reader::new(text, limits);
        let mut envelope = Self::default();
        envelope.read(&mut reader, limits)?;
        reader.finish()?;
        Ok(envelope)
    }

    /// Reads the next value of a reader; a value that is no object makes an envelope of no shape.
    pub(crate) fn read(&mut self, reader: &mut Reader<'a, '_>, limits: &Limits) -> Result<(), Fault> {
        let start = reader.mark();
        if reader.kind()? == Kind::Object {
            reader.object(|reader, name| self.member(reader, limits, name))?;
        } else {
            reader.skip()?;
        }
        self.record.text = reader.since(start);
        Ok(())
    }

    /// The kind of document, if it is one of ours.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let has_records = self.records.is_some() || self.records_bad.is_some();
        if self.specversion.is_present() {
            Some(Shape::CloudEvent)
        } else if self.detail_type.is_present() {
            Some(Shape::EventBridge)
        } else if has_records {
            Some(Shape::Notification)
        } else if self.record.has_s3 && self.record.name.is_present() {
            Some(Shape::Record)
        } else if self.test_name.as_text() == Some("s3:TestEvent") {
            Some(Shape::TestEvent)
        } else if matches!(
            self.sns_type.as_text(),
            Some("Notification" | "SubscriptionConfirmation" | "UnsubscribeConfirmation")
        ) {
            Some(Shape::Sns)
        } else if self.record.is_message() {
            Some(Shape::Message)
        } else if self.pubsub_data.is_present() {
            Some(Shape::PubSub)
        } else {
            None
        }
    }

    fn member(&mut self, reader: &mut Reader<'a, '_>, limits: &Limits, name: &str) -> Result<(), Fault> {
        match name {
            "Records" => self.read_records(reader, limits),
            "EventName" => self.minio_name.read(reader),
            "Event" => self.test_name.read(reader),
            "Type" => self.sns_type.read(reader),
            "Message" => self.sns_message.read(reader),
            "detail-type" => self.detail_type.read(reader),
            "deletion-type" => self.deletion_type.read(reader),
            "specversion" => self.specversion.read(reader),
            "type" => self.event_type.read(reader),
            "time" => self.time.read(reader),
            "data_base64" => self.data_base64.read(reader),
            "detail" | "data" => self.read_inner(reader, limits),
            "message" if reader.kind()? == Kind::Object => reader.object(|reader, name| match name {
                "data" => self.pubsub_data.read(reader),
                _ => reader.skip(),
            }),
            _ => self.record.member(reader, name),
        }
    }

    fn read_records(&mut self, reader: &mut Reader<'a, '_>, limits: &Limits) -> Result<(), Fault> {
        if reader.kind()? != Kind::Array {
            self.records_bad = Some(RefusalReason::WrongType);
            return reader.skip();
        }
        let mut records = Vec::new();
        reader.array(|reader| {
            if records.len() >= limits.events_per_record_max {
                return Err(reader.fault(RefusalReason::TooManyEvents));
            }
            // Read where it stays: a record is a few hundred bytes to move.
            records.push(Record::default());
            records.last_mut().map_or(Ok(()), |record: &mut Record<'a>| record.read(reader))
        })?;
        if self.records.replace(records).is_some() {
            self.records_bad = Some(RefusalReason::DuplicateField);
        }
        Ok(())
    }

    fn read_inner(&mut self, reader: &mut Reader<'a, '_>, limits: &Limits) -> Result<(), Fault> {
        match reader.kind()? {
            Kind::Object if self.is_inner => {}
            Kind::Object if self.inner.is_some() => self.inner_bad = Some(RefusalReason::DuplicateField),
            Kind::Object => {
                let inner = Envelope { is_inner: true, ..Envelope::default() };
                return self.inner.insert(Box::new(inner)).read(reader, limits);
            }
            Kind::Null => {}
            _ => self.inner_bad = Some(RefusalReason::WrongType),
        }
        reader.skip()
    }
}

impl<'a> Record<'a> {
    fn read(&mut self, reader: &mut Reader<'a, '_>) -> Result<(), Fault> {
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

    fn member(&mut self, reader: &mut Reader<'a, '_>, name: &str) -> Result<(), Fault> {
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

    /// True for a message that carries a document, which the pipeline is to open.
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
            // With a low line, as RustFS wrote them before its release 1.0.
            "versionId" | "version-id" | "version_id" => self.version_id.read(reader),
            "sequencer" => self.sequencer.read(reader),
            "contentType" | "content_type" => self.content_type.read(reader),
            "userMetadata" | "user_metadata" | "metadata" => self.metadata.read(reader),
            "tags" => self.tags.read(reader),
            _ => reader.skip(),
        }
    }
}
