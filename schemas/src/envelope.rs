//! Reads a document once, whatever its dialect, and recognises the dialect by its members.
//!
//! The dialects share names (`Records`, `time`, `object`) and never use one name for two things at the same place
//! that we read, so one pass can fill one structure. To accept one more dialect: add its members here (those of its
//! records in `objects/record.rs`), its mark to [`Envelope::shape`], and a file under its domain that decodes it. Of the
//! documents of schedulers only the marks are read here: `tasks/` reads their members from the text.

pub(crate) mod carried;
pub(crate) mod cloudevents;
pub(crate) mod domain;

use crate::json::{Fault, Kind, Reader};
use crate::limits::Limits;
use crate::objects::record::Record;
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::Slot;

/// Some editors and exporters write this before a text; it is no part of it.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `Records` of S3, MinIO, RustFS, Ceph.
    Notification,
    /// One member of such `Records` by itself.
    Record,
    /// The event that S3 sends when a notification is configured.
    TestEvent,
    EventBridge,
    Sns,
    CloudEvent,
    /// A message of SQS, or of SNS as Lambda gets it, by itself.
    Message,
    /// A message that Pub/Sub pushes.
    PubSub,
    /// A task of ECS by itself, as DescribeTasks lists it.
    EcsTask,
    /// The answer of DescribeTasks.
    EcsTasks,
    /// An object of Kubernetes, or a list of them.
    Kubernetes,
    /// A frame of a watch of Kubernetes.
    Watch,
}

/// The members of all dialects that are read of a document, side by side.
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
    /// `kind` of Kubernetes.
    pub(crate) kind: Slot<'a>,
    scheduler: SchedulerMarks,
    /// This is the `detail` or `data` of another document: its own members of these names are ignored.
    is_inner: bool,
}

/// Members that only documents of schedulers have.
#[derive(Debug, Default)]
struct SchedulerMarks {
    has_task_arn: bool,
    has_last_status: bool,
    has_tasks: bool,
    has_api_version: bool,
    has_object: bool,
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
            self.shape_of_scheduler()
        }
    }

    fn shape_of_scheduler(&self) -> Option<Shape> {
        let marks = &self.scheduler;
        let is_frame =
            matches!(self.event_type.as_text(), Some("ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR"));
        if marks.has_task_arn && marks.has_last_status {
            Some(Shape::EcsTask)
        } else if marks.has_tasks {
            Some(Shape::EcsTasks)
        } else if self.kind.is_present() && marks.has_api_version {
            Some(Shape::Kubernetes)
        } else if is_frame && marks.has_object {
            Some(Shape::Watch)
        } else {
            None
        }
    }

    /// The name by which a document of a scheduler is counted where it is filtered.
    pub(crate) fn scheduler_name(&self) -> &str {
        match self.shape_of_scheduler() {
            Some(Shape::EcsTask) => "task",
            Some(Shape::EcsTasks) => "tasks",
            Some(Shape::Kubernetes) => self.kind.as_text().unwrap_or("kubernetes"),
            _ => self.event_type.as_text().unwrap_or_default(),
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
            "kind" => self.kind.read(reader),
            "taskArn" | "lastStatus" | "tasks" | "apiVersion" => self.scheduler.member(reader, name),
            "object" => {
                self.scheduler.has_object |= reader.kind()? == Kind::Object;
                self.record.member(reader, name)
            }
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
            // Read in place, because moving a record copies a few hundred bytes.
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

impl SchedulerMarks {
    fn member(&mut self, reader: &mut Reader<'_, '_>, name: &str) -> Result<(), Fault> {
        let kind = reader.kind()?;
        match name {
            "taskArn" => self.has_task_arn |= kind == Kind::Text,
            "lastStatus" => self.has_last_status |= kind == Kind::Text,
            "tasks" => self.has_tasks |= kind == Kind::Array,
            _ => self.has_api_version |= kind == Kind::Text,
        }
        reader.skip()
    }
}
