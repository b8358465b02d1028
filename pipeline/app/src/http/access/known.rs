//! The tokens accepted now: the file is reread when it changes, and a file with mistakes changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::tokens::{self, Entry, Scope};

/// Clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The tokens of a file.
#[derive(Debug)]
pub(in crate::http) struct Tokens {
    path: PathBuf,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    known: Arc<[Known]>,
    stamp: Option<Stamp>,
    error: Option<String>,
}

#[derive(Debug)]
struct Known {
    /// Of the token: what is compared has one length, and a memory dump shows no token.
    digest: [u8; 32],
    name: Option<String>,
    scope: Scope,
}

/// Metadata that changes with the file.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// State of the file, for people.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Standing {
    file: String,
    accepted: usize,
    /// Why the present file is not used; the tokens from before it are.
    error: Option<String>,
}

/// The credentials of a request.
#[derive(Debug)]
pub(super) struct Shown {
    digest: [u8; 32],
    pub(super) is_basic: bool,
}

impl Shown {
    /// The token of a request: bearer, or the password of Basic, for clients that can be given nothing but an address.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        let scheme = |scheme: &str| {
            let (own, rest) = value.split_at_checked(scheme.len())?;
            own.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
        };
        if let Some(token) = scheme("bearer ") {
            return Some(Shown { digest: Sha256::digest(token).into(), is_basic: false });
        }
        let pair = BASE64.decode(scheme("basic ")?).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        let password = pair.get(colon + 1..).unwrap_or_default();
        Some(Shown { digest: Sha256::digest(password).into(), is_basic: true })
    }
}

impl From<Entry> for Known {
    fn from(entry: Entry) -> Self {
        Known { digest: Sha256::digest(&entry.token).into(), name: entry.name, scope: entry.scope }
    }
}

impl Tokens {
    /// Reads the file for the first time.
    pub(in crate::http) fn read(path: &Path) -> anyhow::Result<Tokens> {
        let stamp = stamp(path);
        let known = tokens::read(path)?.into_iter().map(Known::from).collect();
        Ok(Tokens { path: path.to_owned(), now: RwLock::new(Now { known, stamp, error: None }) })
    }

    /// The name and the scope of a token that is shown, if it is one of these. Takes equally long for every wrong one.
    pub(super) fn find(&self, shown: &Shown) -> Option<(Option<String>, Scope)> {
        let known = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).known);
        let same = |one: &Known| one.digest.iter().zip(&shown.digest).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
        let found = known.iter().fold(None, |found, one| if same(one) { Some(one) } else { found });
        found.map(|one| (one.name.clone(), one.scope.clone()))
    }

    pub(in crate::http) fn standing(&self) -> Standing {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Standing { file: self.path.display().to_string(), accepted: now.known.len(), error: now.error.clone() }
    }

    /// Reads the file again if it has changed.
    pub(super) fn look(&self) {
        let stamp = stamp(&self.path);
        if stamp == self.now.read().unwrap_or_else(PoisonError::into_inner).stamp {
            return;
        }
        let read = tokens::read(&self.path);
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.stamp = stamp;
        match read {
            Ok(entries) => {
                now.known = entries.into_iter().map(Known::from).collect();
                now.error = None;
                tracing::info!(file = %self.path.display(), tokens = now.known.len(), "tokens read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, tokens = now.known.len(), "tokens not read again; those read before stay valid");
                now.error = Some(error);
            }
        }
    }
}

/// Distinguishes contents without reading them; `None` while there is no file.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.dev(), metadata.ino(), metadata.len(), changed.0, changed.1, modified.0, modified.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Duty;

    const A: &str = "0123456789abcdef0123";
    const B: &str = "fedcba98765432100000";

    fn tokens(text: &str) -> (tempfile::TempDir, Tokens) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        (scratch, tokens)
    }

    fn find(tokens: &Tokens, value: &str) -> Option<(Option<String>, Scope)> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        tokens.find(&Shown::of(&headers)?)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    #[test]
    fn tokens_are_found_as_bearer_and_as_password() {
        let (_scratch, tokens) = tokens(&format!("minio:{A} store=minio-a\n{B} duties=read\n"));
        for shown in
            [format!("Bearer {A}"), format!("bearer  {A}"), basic(&format!("sns:{A}")), basic(&format!(":{A}"))]
        {
            let (name, scope) = find(&tokens, &shown).unwrap();
            assert_eq!((name.as_deref(), scope.store.as_deref()), (Some("minio"), Some("minio-a")), "{shown}");
        }
        assert_eq!(find(&tokens, basic(&format!("a:{A}")).trim_end_matches('=')).unwrap().0.as_deref(), Some("minio"));
        let (_, scope) = find(&tokens, &format!("Bearer {B}")).unwrap();
        assert!(scope.duties.has(Duty::Read) && !scope.duties.has(Duty::Ingest));
        for wrong in [
            "Bearer 0123456789abcdef012".to_owned(),
            "Bearer ".to_owned(),
            format!("Basic {B}"),
            B.to_owned(),
            "B".to_owned(),
            basic(A),
            basic(&format!("{A}:x")),
            "Basic %%%".to_owned(),
        ] {
            assert!(find(&tokens, &wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_changed_file_counts_and_a_wrong_one_does_not() {
        let (scratch, tokens) = tokens(&format!("a:{A}\n"));
        let path = scratch.path().join("tokens");
        let bearer = |token: &str| find(&tokens, &format!("Bearer {token}")).is_some();
        for wrong in ["", "short\n", "# none\n"] {
            std::fs::write(&path, wrong).unwrap();
            tokens.look();
            assert!(bearer(A), "{wrong:?}");
            assert!(tokens.standing().error.is_some(), "{wrong:?}");
        }
        std::fs::remove_file(&path).unwrap();
        tokens.look();
        assert!(bearer(A) && tokens.standing().error.is_some());
        // Of the same length as before: its size does not show the change.
        std::fs::write(&path, format!("b:{B}\n")).unwrap();
        tokens.look();
        assert!(bearer(B) && !bearer(A) && tokens.standing().error.is_none());
    }
}
