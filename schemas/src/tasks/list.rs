//! The elements of a list, each a document of its own: tasks and failures of DescribeTasks, items of Kubernetes.

use std::borrow::Cow;

use super::document::Object;
use super::kubernetes;
use crate::refusal::Refusal;

/// One element of a list, as it is written there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Element<'a> {
    /// An element of `tasks`.
    Task(&'a str),
    /// An element of `failures`.
    Failure(&'a str),
    /// An element of `items`, with the kind and the version that its list says of it.
    Item(&'a str, (&'static str, &'static str)),
}

/// Whether a kind of Kubernetes is a list that is taken apart.
pub(crate) fn is_list(kind: &str) -> bool {
    kubernetes::items_of(kind).is_some()
}

/// Takes each element of a list, in its order. An error means that the arrays of the list cannot be read.
pub(crate) fn each<'a>(text: &'a str, take: &mut dyn FnMut(Element<'a>)) -> Result<(), Refusal> {
    let list = Object::read(text, "the list")?;
    if let Some(said) = list.text("kind")?.as_deref().and_then(kubernetes::items_of) {
        return list.elements("items", usize::MAX, &mut |_, text| {
            take(Element::Item(text, said));
            Ok(())
        });
    }
    list.elements("tasks", usize::MAX, &mut |_, text| {
        take(Element::Task(text));
        Ok(())
    })?;
    list.elements("failures", usize::MAX, &mut |_, text| {
        take(Element::Failure(text));
        Ok(())
    })
}

/// The number of elements of a list; 0 where it cannot be read.
pub(crate) fn count(text: &str) -> usize {
    let mut count = 0;
    let read = each(text, &mut |_| count += 1);
    if read.is_ok() { count } else { 0 }
}

impl<'a> Element<'a> {
    /// The element as a document that decodes by itself to what it decodes to in its list.
    pub(crate) fn document(self) -> Cow<'a, str> {
        match self {
            Element::Task(text) | Element::Item(text, ("", _)) => Cow::Borrowed(text),
            Element::Failure(text) => Cow::Owned(format!("{{\"tasks\":[],\"failures\":[{text}]}}")),
            Element::Item(text, (kind, api_version)) => {
                let lacks = |name| Object::read(text, "the item").is_ok_and(|item| matches!(item.find(name), Ok(None)));
                let lacking: String = [("kind", kind), ("apiVersion", api_version)]
                    .into_iter()
                    .filter(|(name, _)| lacks(name))
                    .map(|(name, value)| format!("\"{name}\":\"{value}\","))
                    .collect();
                match text.strip_prefix('{') {
                    Some(members) if !lacking.is_empty() => {
                        let lacking =
                            if members.trim_start() == "}" { lacking.trim_end_matches(',') } else { &lacking };
                        Cow::Owned(format!("{{{lacking}{members}"))
                    }
                    _ => Cow::Borrowed(text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_says_what_it_is_when_it_leaves_its_list() {
        let rows = [
            (r#"{"a":1}"#, r#"{"kind":"Pod","apiVersion":"v1","a":1}"#),
            (r#"{"kind":"Node","a":1}"#, r#"{"apiVersion":"v1","kind":"Node","a":1}"#),
            (r#"{"kind":null}"#, r#"{"kind":"Pod","apiVersion":"v1","kind":null}"#),
            ("{ }", r#"{"kind":"Pod","apiVersion":"v1" }"#),
            (r#"{"apiVersion":"v1","kind":"Pod"}"#, r#"{"apiVersion":"v1","kind":"Pod"}"#),
            ("[1]", "[1]"),
        ];
        for (item, document) in rows {
            assert_eq!(Element::Item(item, ("Pod", "v1")).document(), document);
        }
        assert_eq!(Element::Item("{}", ("", "")).document(), "{}");
        assert_eq!(Element::Failure("{}").document(), r#"{"tasks":[],"failures":[{}]}"#);
    }

    #[test]
    fn a_list_whose_arrays_are_none_has_no_elements() {
        assert_eq!(count(r#"{"tasks":[1,2],"failures":[3]}"#), 3);
        assert_eq!(count(r#"{"tasks":[1,2],"failures":{}}"#), 0);
        assert_eq!(count(r#"{"kind":"PodList","items":[1],"tasks":[2,3]}"#), 1);
        assert_eq!(count(r#"{"tasks":[1],"tasks":[2]}"#), 0);
    }
}
