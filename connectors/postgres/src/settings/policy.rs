//! Which TLS an address gets, and which environment variables are refused with it.

use super::address::Address;
use super::error::Error;
use super::tls::{Tls, TlsMode};

/// The TLS of an address: the requested one, if it is safe enough for the host.
pub(super) fn choose(address: &Address, asked: Option<&Tls>, insecure: bool) -> Result<Tls, Error> {
    let asked = asked.or(address.tls.as_ref());
    let host = || address.host.clone();
    let local = address.is_local();
    let default = match (local, insecure) {
        (true, _) => TlsMode::Disable,
        (false, true) => TlsMode::Prefer,
        (false, false) => TlsMode::VerifyFull,
    };
    let mut tls = asked.cloned().unwrap_or(Tls { mode: default, ca: None });
    if address.is_socket() && tls.mode != TlsMode::Disable {
        let why = "a socket has no TLS: leave it out";
        return Err(Error::Value { setting: "tls", why });
    }
    if !local && !insecure && tls.mode != TlsMode::VerifyFull {
        return Err(Error::Insecure { host: host(), mode: tls.mode });
    }
    if let Some(ca) = &tls.ca {
        match tls.mode {
            TlsMode::VerifyCa | TlsMode::VerifyFull => {}
            _ => return Err(Error::Value { setting: "tls", why: "`ca` is used by verify-ca and verify-full alone" }),
        }
        // The driver would report only that TLS failed.
        if let Err(source) = std::fs::File::open(ca) {
            return Err(Error::File { setting: "tls", path: ca.clone(), source });
        }
    }
    if !cfg!(feature = "tls") {
        match tls.mode {
            TlsMode::Disable => {}
            TlsMode::Prefer => tls.mode = TlsMode::Disable,
            mode => return Err(Error::NoTls { host: host(), mode }),
        }
    }
    Ok(tls)
}

/// Refuses the variables that the driver reads and that no option overrules.
pub(super) fn environment(tls: &Tls) -> Result<(), Error> {
    refuse(tls, |name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn refuse(tls: &Tls, is_set: impl Fn(&str) -> bool) -> Result<(), Error> {
    let encrypted = tls.mode != TlsMode::Disable;
    for (matters, name) in [
        // It may hold `synchronous_commit=off`, which would lose rows unnoticed.
        (true, "PGOPTIONS"),
        (encrypted && tls.ca.is_none(), "PGSSLROOTCERT"),
        (encrypted, "PGSSLCERT"),
        (encrypted, "PGSSLKEY"),
    ] {
        if matters && is_set(name) {
            return Err(Error::Environment { name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_environment_is_refused_where_it_would_have_a_say() {
        let tls = |mode, ca: Option<&str>| Tls { mode, ca: ca.map(PathBuf::from) };
        let set = |set: &'static str| move |name: &str| name == set;
        assert!(refuse(&tls(TlsMode::Disable, None), set("PGOPTIONS")).is_err());
        assert!(refuse(&tls(TlsMode::Disable, None), set("PGSSLROOTCERT")).is_ok());
        assert!(refuse(&tls(TlsMode::VerifyFull, None), set("PGSSLROOTCERT")).is_err());
        assert!(refuse(&tls(TlsMode::VerifyFull, Some("/ca.pem")), set("PGSSLROOTCERT")).is_ok());
        assert!(refuse(&tls(TlsMode::VerifyFull, Some("/ca.pem")), set("PGSSLKEY")).is_err());
        // These are overruled by the options, so they need not be refused.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGAPPNAME", "PGSSLMODE"] {
            assert!(refuse(&tls(TlsMode::VerifyFull, None), set(name)).is_ok(), "{name}");
        }
    }
}
