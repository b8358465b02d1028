//! Tokens: who may do what. One line of a file for each:
//!
//! ```text
//! [name:]token [duties=ingest,read] [store=S] [bucket=B] [prefix=P] [logs=P]   # a comment
//! ```
//!
//! A line without duties has all of them, one without limits reaches everything. What a token may not reach is refused
//! in the same words whether it exists or not: [`Scope::allows`] decides that for every entry point.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Serialize;

mod line;
pub(crate) use line::check_name;

mod edit;
pub(crate) use edit::edit;

/// Minimum bytes of a token: shorter ones can be guessed.
pub(crate) const TOKEN_BYTES_MIN: usize = 16;
/// Maximum number of tokens: each request compares them one by one.
pub(crate) const TOKENS_MAX: usize = 1000;
/// Maximum number of wrong lines named at once.
const MISTAKES_MAX: usize = 10;

/// What a token may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Duty {
    /// Post events.
    Ingest,
    /// Query objects, counts and what became of them.
    Read,
    /// Write files and log streams.
    Write,
    /// Delete files and log streams.
    Delete,
    /// Read `/metrics`.
    Metrics,
    /// Resume, set the controller, move positions, and change anything else in how millstream works.
    Operate,
    /// Show routes of the gateway.
    Gateway,
}

impl Duty {
    pub(crate) const ALL: [Duty; 7] =
        [Duty::Ingest, Duty::Read, Duty::Write, Duty::Delete, Duty::Metrics, Duty::Operate, Duty::Gateway];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Duty::Ingest => "ingest",
            Duty::Read => "read",
            Duty::Write => "write",
            Duty::Delete => "delete",
            Duty::Metrics => "metrics",
            Duty::Operate => "operate",
            Duty::Gateway => "gateway",
        }
    }
}

/// Several duties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duties(u8);

impl Duties {
    pub(crate) fn all() -> Self {
        Duties::of(&Duty::ALL)
    }

    pub(crate) fn of(duties: &[Duty]) -> Self {
        Duties(duties.iter().fold(0, |bits, duty| bits | 1 << (*duty as u8)))
    }

    pub(crate) fn has(self, duty: Duty) -> bool {
        self.0 & (1 << (duty as u8)) != 0
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Duty::ALL.into_iter().filter(move |duty| self.has(*duty)).map(Duty::as_str)
    }
}

/// What a token is for. A missing limit does not limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) duties: Duties,
    /// The object store, and the source of task events.
    pub(crate) store: Option<Arc<str>>,
    pub(crate) bucket: Option<Arc<str>>,
    /// The prefix of keys.
    pub(crate) prefix: Option<Arc<str>>,
    /// The prefix of names of log streams.
    pub(crate) logs: Option<Arc<str>>,
}

/// The target of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thing<'a> {
    /// What belongs to no store, or to all of them.
    Everything,
    /// All of a store.
    Store(&'a str),
    /// An object, or every key with this prefix: store, bucket, key.
    Keys(&'a str, &'a str, &'a str),
}

impl Scope {
    /// Everything.
    pub(crate) fn unlimited() -> Self {
        Scope { duties: Duties::all(), store: None, bucket: None, prefix: None, logs: None }
    }

    /// Whether a limit restricts it to a part of the data.
    pub(crate) fn is_limited(&self) -> bool {
        self.store.is_some() || self.bucket.is_some() || self.prefix.is_some() || self.logs.is_some()
    }

    /// Whether the thing is within its limits.
    pub(crate) fn reaches(&self, thing: Thing<'_>) -> bool {
        let is = |limit: &Option<Arc<str>>, asked: &str| limit.as_deref().is_none_or(|own| own == asked);
        match thing {
            Thing::Everything => !self.is_limited(),
            Thing::Store(store) => is(&self.store, store) && self.bucket.is_none() && self.prefix.is_none(),
            Thing::Keys(store, bucket, key) => {
                let prefix = self.prefix.as_deref().unwrap_or_default();
                is(&self.store, store) && is(&self.bucket, bucket) && key.starts_with(prefix)
            }
        }
    }

    /// Whether it has this duty for this thing.
    pub(crate) fn allows(&self, duty: Duty, thing: Thing<'_>) -> bool {
        self.duties.has(duty) && self.reaches(thing)
    }
}

/// One line of the file.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) name: Option<String>,
    pub(crate) token: String,
    pub(crate) scope: Scope,
}

/// Without the token: entries end up in messages.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("line", &self.line).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads the file.
///
/// # Errors
/// Names each wrong line by its number, and never repeats a line: it holds a secret.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the tokens in {}", path.display()))?;
    parse(&text).with_context(|| format!("read the tokens in {}", path.display()))
}

/// Reads the text of the file.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let (entries, mistakes) = parse_lines(text);
    if !mistakes.is_empty() {
        let shown: Vec<&str> = mistakes.iter().take(MISTAKES_MAX).map(String::as_str).collect();
        let more = mistakes.len().saturating_sub(MISTAKES_MAX);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        bail!("{}{more}", shown.join("; "));
    }
    if entries.is_empty() {
        bail!("there is no token in it: add one with `millstream token add NAME`");
    }
    Ok(entries)
}

fn parse_lines(text: &str) -> (Vec<Entry>, Vec<String>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut mistakes: Vec<String> = Vec::new();
    for (number, line) in
        text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate().map(|(at, line)| (at + 1, line))
    {
        match line::parse(number, line) {
            Ok(None) => {}
            Ok(Some(entry)) => match entries.iter().find(|other| other.token == entry.token) {
                Some(other) => {
                    mistakes.push(format!("line {number} has the token of line {}: remove one of them", other.line));
                }
                None if entries.len() >= TOKENS_MAX => {
                    mistakes.push(format!("line {number} is one too many: at most {TOKENS_MAX} tokens are possible"));
                    break;
                }
                None => entries.push(entry),
            },
            Err(mistake) => mistakes.push(format!("line {number}: {mistake}")),
        }
    }
    (entries, mistakes)
}

/// Whether a text can name a store.
pub(crate) fn is_store(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().next().is_some_and(plain) && name.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123";

    #[test]
    fn a_line_says_who_may_do_what() {
        let text = format!(
            "# producers\nminio:{A} store=minio-a # rotated in May\n\nfedcba98765432100000\n\
             p:x#y#0123456789abcdef duties=ingest,read store=s bucket=B prefix=in/2026/ logs=app\n"
        );
        let entries = parse(&text).unwrap();
        let [first, second, third] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((first.line, first.name.as_deref(), &*first.token), (2, Some("minio"), A));
        assert_eq!((first.scope.duties, first.scope.store.as_deref()), (Duties::all(), Some("minio-a")));
        assert_eq!((second.name.as_deref(), &second.scope), (None, &Scope::unlimited()));
        assert_eq!(third.token, "x#y#0123456789abcdef", "a # inside a token belongs to it");
        assert_eq!(third.scope.duties.names().collect::<Vec<_>>(), ["ingest", "read"]);
        let limits = [&third.scope.store, &third.scope.bucket, &third.scope.prefix, &third.scope.logs];
        assert_eq!(limits.map(|limit| limit.as_deref().unwrap()), ["s", "B", "in/2026/", "app"]);
        assert!(!format!("{third:?}").contains("x#y"), "{third:?}");
    }

    #[test]
    fn every_wrong_line_is_named_and_none_is_repeated() {
        for (bad, said) in [
            ("", "no token"),
            ("# none\n", "no token"),
            ("short", "at least 16 characters"),
            ("name:short", "at least 16 characters"),
            (":0123456789abcdef", "name"),
            ("a b:0123456789abcdef", "at least 16 characters"),
            ("ä:0123456789abcdef", "name"),
            ("0123456789abcdef stor=a", "`stor`"),
            ("0123456789abcdef store", "store=S"),
            ("0123456789abcdef store=A", "a-z 0-9"),
            ("0123456789abcdef store=a store=b", "twice"),
            ("0123456789abcdef duties=", "ingest, read"),
            ("0123456789abcdef duties=ingest,reed", "`reed`"),
            ("0123456789abcdef bucket=", "bucket"),
            ("0123456789abcdef prefix=", "prefix"),
        ] {
            let message = format!("{:#}", parse(&format!("\n{bad}")).unwrap_err());
            assert!(message.contains(said), "{bad}: {message}");
            assert!(!message.contains("0123456789abcdef"), "{message}");
            assert!(bad.is_empty() || bad.starts_with('#') || message.contains("line 2"), "{message}");
        }
        let message = format!("{:#}", parse(&format!("{A}\nshort\na:{A}\n")).unwrap_err());
        assert!(message.contains("line 2: ") && message.contains("line 3 has the token of line 1"), "{message}");
    }

    #[test]
    fn a_scope_reaches_what_it_says_and_nothing_else() {
        let scope = |line: &str| parse(&format!("{A} {line}")).unwrap().remove(0).scope;
        let all = scope("");
        assert!(all.allows(Duty::Operate, Thing::Everything) && all.allows(Duty::Read, Thing::Keys("s", "b", "k")));
        let store = scope("store=s");
        assert!(store.allows(Duty::Read, Thing::Store("s")) && store.allows(Duty::Read, Thing::Keys("s", "b", "")));
        assert!(!store.allows(Duty::Read, Thing::Store("t")) && !store.allows(Duty::Read, Thing::Keys("t", "b", "k")));
        assert!(!store.allows(Duty::Operate, Thing::Everything));
        let bucket = scope("duties=read bucket=b");
        assert!(
            bucket.allows(Duty::Read, Thing::Keys("any", "b", "")) && !bucket.allows(Duty::Read, Thing::Store("any"))
        );
        assert!(!bucket.allows(Duty::Read, Thing::Keys("s", "c", "k")));
        assert!(!bucket.allows(Duty::Ingest, Thing::Keys("any", "b", "k")));
        let prefix = scope("store=s prefix=in/");
        assert!(prefix.allows(Duty::Read, Thing::Keys("s", "b", "in/k")));
        for outside in [Thing::Keys("s", "b", "in"), Thing::Keys("s", "b", ""), Thing::Keys("t", "b", "in/k")] {
            assert!(!prefix.allows(Duty::Read, outside), "{outside:?}");
        }
        assert!(!scope("logs=app").allows(Duty::Operate, Thing::Everything));
    }
}
