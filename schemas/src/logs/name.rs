//! Names of streams.

use crate::refusal::{Refusal, RefusalReason};

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 1_024;

/// Refuses what is no name of a stream: 1 to 1,024 bytes of UTF-8 without control characters. Nothing else means
/// anything: not `/`, not `..`, not `:`.
///
/// # Errors
/// Says what a name is.
pub fn check(name: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(name).ok().filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len()));
    text.filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| {
        let detail = format!("a stream has a name of 1 to {NAME_BYTES_MAX} bytes of UTF-8 without control characters");
        Refusal::new(RefusalReason::BadName, detail)
    })
}

/// What stands in a name for what is not known.
const UNKNOWN: &str = "unknown";

/// How a name is made of attributes, such as `{service.name}/{service.instance.id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Attribute(String),
}

impl Template {
    /// Reads a template; `None` if a brace has no other one, or nothing stands between two.
    pub fn parse(text: &str) -> Option<Template> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (attribute, after) = behind.split_once('}')?;
            if before.contains('}') || attribute.is_empty() || attribute.contains('{') {
                return None;
            }
            pieces.extend([Piece::Text(before.to_owned()), Piece::Attribute(attribute.to_owned())]);
            rest = after;
        }
        if rest.contains('}') {
            return None;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Some(Template(pieces))
    }

    /// The name; an attribute that is absent becomes `unknown`.
    pub fn fill(&self, attribute: impl Fn(&str) -> Option<String>) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Attribute(name) => attribute(name).unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        self.0.iter().map(text).collect()
    }
}

impl Default for Template {
    /// Service and instance, by the names that OpenTelemetry gives them.
    fn default() -> Self {
        let attribute = |name: &str| Piece::Attribute(name.to_owned());
        Template(vec![attribute("service.name"), Piece::Text("/".to_owned()), attribute("service.instance.id")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_with_attributes() {
        let template = Template::parse("k8s/{a}:{b.c}").unwrap();
        assert_eq!(template.fill(|name| Some(name.to_uppercase())), "k8s/A:B.C");
        assert_eq!(template.fill(|name| (name == "a").then(|| "1".to_owned())), "k8s/1:unknown");
        assert_eq!(Template::parse("plain").unwrap().fill(|_| None), "plain");
        for bad in ["{", "}", "{}", "a}b{c}", "{a{b}}", "{a}}"] {
            assert_eq!(Template::parse(bad), None, "{bad}");
        }
        let default = Template::parse("{service.name}/{service.instance.id}").unwrap();
        assert_eq!(default.fill(|name| Some(name.to_owned())), Template::default().fill(|name| Some(name.to_owned())));
    }

    #[test]
    fn a_name_is_taken_as_it_is() {
        for name in ["a", "ecs/app/9f0c", "..", "a:b", "%2F", "Größe 7", " ", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check(name.as_bytes()), Ok(name));
        }
        for name in [&b""[..], b"a\nb", b"\0", b"\xff", "\u{85}".as_bytes(), "x".repeat(NAME_BYTES_MAX + 1).as_bytes()]
        {
            assert_eq!(check(name).unwrap_err().reason, RefusalReason::BadName, "{name:?}");
        }
    }
}
