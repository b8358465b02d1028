//! One line of the file of tokens.

use std::sync::Arc;

use super::{Duties, Duty, Entry, Scope, TOKEN_BYTES_MIN, is_store};

/// What may follow a token.
const OPTIONS: [&str; 5] = ["duties", "store", "bucket", "prefix", "logs"];
/// Maximum number of characters of a name.
const NAME_MAX: usize = 63;

/// Parses a line; `None` if it is empty or a comment. Errors do not contain the token.
pub(super) fn parse(line: usize, text: &str) -> Result<Option<Entry>, String> {
    // A `#` begins a comment where it begins a word, so that one inside a token belongs to the token.
    let mut words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(first) = words.next() else { return Ok(None) };
    let (name, token) = match first.split_once(':') {
        Some((name, token)) => (Some(name.to_owned()), token.to_owned()),
        None => (None, first.to_owned()),
    };
    if let Some(name) = &name {
        check_name(name)?;
    }
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!(
            "a token has at least {TOKEN_BYTES_MIN} characters and no spaces: make one with `millstream token add NAME`, or with `openssl rand -hex 24`"
        ));
    }
    let mut scope = Scope::unlimited();
    let mut seen = Vec::new();
    for word in words {
        let (option, value) = word.split_once('=').unwrap_or((word, ""));
        if seen.contains(&option) {
            return Err(format!("`{option}=` stands there twice: keep one of them"));
        }
        set(&mut scope, option, value)?;
        seen.push(option);
    }
    Ok(Some(Entry { line, name, token, scope }))
}

fn set(scope: &mut Scope, option: &str, value: &str) -> Result<(), String> {
    let limit = match option {
        "duties" => {
            scope.duties = duties(value)?;
            return Ok(());
        }
        "store" if is_store(value) => &mut scope.store,
        "store" => {
            return Err(
                "write store=S, where S has 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit".to_owned()
            );
        }
        "bucket" => &mut scope.bucket,
        "prefix" => &mut scope.prefix,
        "logs" => &mut scope.logs,
        // Shown only if it is nearly an option: it may be part of a token with a space in it.
        other => {
            let near = OPTIONS.iter().find(|option| strsim::damerau_levenshtein(option, other) <= 2);
            return Err(match near {
                Some(near) => format!("`{other}` is no option: did you mean {near}=?"),
                None => "only duties=, store=, bucket=, prefix= and logs= may follow a token, which has no spaces"
                    .to_owned(),
            });
        }
    };
    if value.is_empty() {
        return Err(format!("`{option}=` limits to nothing: give a value, or leave it out"));
    }
    *limit = Some(Arc::from(value));
    Ok(())
}

fn duties(value: &str) -> Result<Duties, String> {
    let known = || Duty::ALL.map(Duty::as_str).join(", ");
    let mut duties = Vec::new();
    for word in value.split(',') {
        let Some(duty) = Duty::ALL.into_iter().find(|duty| duty.as_str() == word) else {
            let what = if word.is_empty() { "an empty word".to_owned() } else { format!("`{}`", shortened(word)) };
            return Err(format!("duties= has {what}: write some of {}, with commas and no spaces", known()));
        };
        duties.push(duty);
    }
    Ok(Duties::of(&duties))
}

/// Enough to find it, too little to be a token.
fn shortened(word: &str) -> String {
    word.chars().take(TOKEN_BYTES_MIN / 2).collect()
}

/// Checks that a text can name a token.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("a name, before the `:`, has 1 to {NAME_MAX} letters, digits and . _ - @"))
}
