//! The entity that decides the partition of a record, read without decoding it: that of its first event. It is the same
//! text as [`TaskEvent::entity`](super::event::TaskEvent::entity), and empty where it cannot be read.

use super::document::Object;
use super::fact::Kind;
use super::list::{self, Element};
use super::{ecs, millstream};

/// The task of a document of ECS, or its container instance.
pub(crate) fn of_ecs(detail_type: Option<&str>, detail: &str) -> String {
    let name = if detail_type == Some(ecs::INSTANCE_CHANGE) { "containerInstanceArn" } else { "taskArn" };
    of_arn(detail, name)
}

/// The entity of an object of Kubernetes: a node is known by its name, all others by their uid.
pub(crate) fn of_object(object: &str, kind: &str) -> String {
    let read = || {
        let object = Object::read(object, "object").ok()?;
        let own = object.text("kind").ok()?;
        let metadata = object.object("metadata").ok()??;
        let is_node = own.as_deref().unwrap_or(kind) == "Node";
        metadata.text(if is_node { "name" } else { "uid" }).ok()?
    };
    read().unwrap_or_default()
}

/// The entity of the object in a frame of a watch.
pub(crate) fn of_frame(frame: &str) -> String {
    let object = Object::read(frame, "frame").and_then(|frame| frame.find("object")).ok().flatten();
    object.map(|(_, object)| of_object(object, "")).unwrap_or_default()
}

/// The entity of an element of a list.
pub(crate) fn of_element(element: Element<'_>) -> String {
    match element {
        Element::Task(task) => of_arn(task, "taskArn"),
        Element::Failure(failure) => of_arn(failure, "arn"),
        Element::Item(item, (kind, _)) => of_object(item, kind),
    }
}

/// The entity of the first element of a list.
pub(crate) fn of_list(document: &str) -> String {
    let mut first = None;
    let read = list::each(document, &mut |element| {
        first.get_or_insert_with(|| of_element(element));
    });
    read.ok().and(first).unwrap_or_default()
}

/// The entity of a plain event; `None` if the type is not one of ours.
pub(crate) fn of_plain(event_type: &str, data: &str) -> Option<String> {
    let kind = millstream::kind_of(event_type)?;
    let data = Object::read(data, "data").ok();
    let text = |name| data.as_ref().and_then(|data| data.text(name).ok()?).unwrap_or_default();
    Some(match kind {
        Kind::Deploy => format!("{}/{}", text("service"), text("revision")),
        Kind::Health => text("task"),
        _ => text("id"),
    })
}

fn of_arn(document: &str, name: &str) -> String {
    let arn = Object::read(document, "document").and_then(|document| document.text(name)).ok().flatten();
    arn.as_deref().map(ecs::id_of_arn).unwrap_or_default().to_owned()
}
