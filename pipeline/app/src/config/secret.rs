//! The parts of a configuration that are never shown.

use toml::Value;

pub(super) const MASK: &str = "***";

/// The value as it may be shown.
pub(super) fn masked(setting: &str, value: Value) -> Value {
    let Value::String(text) = value else { return value };
    let name = setting.rsplit('.').next().unwrap_or_default();
    let names_secret = ["password", "secret", "token"].iter().any(|word| name.contains(word));
    if names_secret && !name.ends_with("_file") {
        return Value::String(MASK.to_owned());
    }
    Value::String(mask_url(&text))
}

/// An address without its password. A text that looks like an address but cannot be parsed is not shown at all.
fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, more) = rest.split_at(end);
    // An unescaped `/` or `#` in a password ends the authority early, with the password's rest and the @ behind it.
    let suspicious = more.contains('@') || more.to_ascii_lowercase().contains("password");
    match authority.rsplit_once('@') {
        _ if suspicious => format!("{scheme}://{MASK}"),
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{MASK}@{host}{more}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (text, shown) in [
            ("postgres://u:geheim@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:ge@heim@h/d", "postgres://u:***@h/d"),
            ("postgres://u:ge/heim@h/d", "postgres://***"),
            ("postgres://u@h/d?password=geheim", "postgres://***"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(mask_url(text), shown);
        }
        let masked = masked("postgres.password", Value::String("geheim".to_owned()));
        assert_eq!(masked, Value::String("***".to_owned()));
    }
}
