use std::fs;

use sqlx::postgres::PgSslMode;

use super::*;

const REMOTE: &str = "postgres://writer:secret@db.example.com:6432/events";
const WITHOUT: &str = "postgres://writer@127.0.0.1/events";
const LOCAL: &str = "postgres://writer:secret@127.0.0.1/events";

fn section(toml: &str) -> Postgres {
    toml::from_str(toml).unwrap()
}

fn refusal(toml: &str) -> String {
    let section = section(toml);
    section.check().unwrap_err().to_string()
}

#[test]
fn nothing_said_is_a_private_cluster() {
    let postgres = section("");
    assert!(postgres.is_embedded());
    postgres.check().unwrap();
    assert!(matches!(postgres.connect_options(), Err(Error::Embedded)));
    let options = section("pg_port = 5433\nlock_timeout_ms = 700\nsettings.work_mem = \"8MB\"")
        .cluster_options(Path::new("/srv/home"))
        .unwrap();
    assert_eq!((options.pg_port, options.durable), (Some(5433), true));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options.settings, [pair("lock_timeout", "700ms"), pair("work_mem", "8MB")]);
}

#[test]
fn an_address_is_taken_apart_and_nothing_is_left_to_the_environment() {
    let options = section(&format!("url = '{LOCAL}'")).connect_options().unwrap();
    assert_eq!((options.get_host(), options.get_port()), ("127.0.0.1", 5432));
    assert_eq!((options.get_username(), options.get_database()), ("writer", Some("events")));
    assert_eq!(options.get_application_name(), Some("millstream"));
    assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));

    let odd = "postgresql://w%40riter:p%2Fw%23@[::1]:7000?application_name=bench";
    let options = section(&format!("url = '{odd}'")).connect_options().unwrap();
    assert_eq!((options.get_host(), options.get_port()), ("::1", 7000));
    assert_eq!((options.get_username(), options.get_database()), ("w@riter", Some("w@riter")));
    assert_eq!(options.get_application_name(), Some("bench"));
    // The driver shows its password only in this output.
    assert!(format!("{options:?}").contains("p/w#"));

    for socket in ["postgres://w@%2Frun%2Fpg/events", "postgres://w@/events?host=/run/pg"] {
        let options = section(&format!("url = '{socket}'")).connect_options().unwrap();
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/run/pg")), "{socket}");
    }
}

#[test]
fn addresses_that_say_too_little_or_too_much_are_refused_without_their_password() {
    for (url, why) in [
        ("postgres://db.example.com/events", "names no user"),
        ("postgres://writer:secret@/events", "names no host"),
        ("mysql://writer:secret@127.0.0.1/events", "not mysql://"),
        ("writer:secret@127.0.0.1", "begins with postgres://"),
        ("/run/postgresql", "not an address"),
        ("postgres://writer:secret@127.0.0.1:99999/events", "not an address"),
        ("postgres://writer:secret@a,b/events", "several hosts"),
        ("postgres://writer:sec#ret@127.0.0.1/events", "%23"),
        ("postgres://writer:secret@127.0.0.1/events?options=-cfsync%3Doff", "`options`"),
        ("postgres://writer:secret@127.0.0.1/events?sslmode=allow", "sslmode is"),
        ("postgres://writer:secret@127.0.0.1/events?sslrootcert=/ca.pem", "sslmode=verify-full"),
        ("postgres://writer:secret@127.0.0.1/events?host=/run", "twice"),
        ("postgres://writer:%ff@127.0.0.1/events", "password is not text"),
    ] {
        let said = refusal(&format!("url = '{url}'"));
        assert!(said.contains(why), "{url}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let shown = format!("{:?}", section(&format!("url = '{REMOTE}'\ninsecure = true")));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn beyond_this_machine_the_server_is_verified() {
    for mode in ["disable", "prefer", "require", "verify-ca"] {
        let said = refusal(&format!("url = '{REMOTE}'\ntls.mode = '{mode}'"));
        assert!(said.contains("insecure = true") && said.contains(mode), "{said}");
        let said = refusal(&format!("url = '{REMOTE}?sslmode={mode}'"));
        assert!(said.contains("insecure = true"), "{said}");
    }
    section(&format!("url = '{REMOTE}'\ninsecure = true")).check().unwrap();
    section(&format!("url = '{REMOTE}'\ninsecure = true\ntls.mode = 'disable'")).check().unwrap();
    section(&format!("url = '{LOCAL}'\ntls.mode = 'disable'")).check().unwrap();
    // A name that only begins like this machine's is another machine.
    assert!(refusal("url = 'postgres://w@localhost.example.com/e'\ntls.mode = 'disable'").contains("not this machine"));
    assert!(refusal("url = 'postgres://w@127.0.0.1.example.com/e'\ntls.mode = 'disable'").contains("not this machine"));
    assert!(refusal("url = 'postgres://w@10.0.0.1/e'\ntls.mode = 'disable'").contains("not this machine"));
}

#[cfg(feature = "tls")]
#[test]
fn verification_is_the_default_and_uses_the_given_authority() {
    let options = section(&format!("url = '{REMOTE}'")).connect_options().unwrap();
    assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    let with = format!("url = '{REMOTE}'\ntls = {{ mode = 'verify-full', ca = '{}' }}", ca.display());
    assert!(refusal(&with).contains("cannot read"));
    fs::write(&ca, "").unwrap();
    assert!(format!("{:?}", section(&with).connect_options().unwrap()).contains("ca.pem"));
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_in_the_build_a_server_elsewhere_is_refused_by_name() {
    assert!(refusal(&format!("url = '{REMOTE}'")).contains("db.example.com needs TLS"));
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    for (toml, why) in [
        ("url = 'U'\nurl_file = '/f'", "each names the server"),
        ("url = 'U'\nembedded = true", "embedded and postgres.url"),
        ("url = 'U'\npg_port = 5433", "pg_port"),
        ("url = 'U'\nsettings.work_mem = '8MB'", "settings"),
        ("embedded = false", "neither postgres.url"),
        ("tls.mode = 'disable'", "embedded and postgres.tls"),
        ("insecure = true", "embedded and postgres.insecure"),
        ("pgbouncer = true", "embedded and postgres.pgbouncer"),
        ("password_file = '/f'", "embedded and postgres.password_file"),
        ("migrate_url = 'U'", "embedded and postgres.migrate_url"),
        ("roles = 'existing'", "embedded and postgres.roles"),
        ("url = 'U'\npgbouncer = true", "pgbouncer needs postgres.migrate_url"),
        ("pg_port = 0", "name one"),
        ("statement_timeout_ms = 2147483648", "at most"),
        ("url = 'U'\npassword_file = '/f'", "each gives the password"),
        ("url = 'U?sslmode=disable'\ntls.mode = 'disable'", "each says how"),
        ("url = 'postgres://w@/e?host=/run'\ntls.mode = 'require'", "socket has no TLS"),
        ("url = 'U'\ntls = { mode = 'prefer', ca = '/ca.pem' }", "verify-ca and verify-full alone"),
    ] {
        let said = refusal(&toml.replace("'U", &format!("'{LOCAL}")));
        assert!(said.contains(why), "{toml}: {said}");
    }
    for unknown in ["urll = 'x'", "tls = { mode = 'disable', cert = 'x' }", "pool.size = 3", "pool.connections_max = 0"]
    {
        assert!(toml::from_str::<Postgres>(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn secrets_come_from_files_that_are_read_anew() {
    let home = tempfile::tempdir().unwrap();
    let url = home.path().join("url");
    let password = home.path().join("password");
    let section = section(&format!("url_file = '{}'\npassword_file = '{}'", url.display(), password.display()));
    section.check().unwrap();
    assert!(section.connect_options().unwrap_err().to_string().contains("cannot read"));
    fs::write(&url, "postgres://writer@127.0.0.1/events\n").unwrap();
    for word in ["first", "second"] {
        fs::write(&password, format!("{word}\n")).unwrap();
        let shown = format!("{:?}", section.connect_options().unwrap());
        assert!(shown.contains(&format!("{word:?}")), "{shown}");
    }
    let both =
        format!("migrate_url = 'postgres://owner:own@127.0.0.1/events'\npassword_file = '{}'", password.display());
    for (migrate, word) in [("owner:own@", "own"), ("writer@", "second")] {
        let both = both.replace("owner:own@", migrate);
        let shown = format!("{:?}", self::section(&format!("url = '{WITHOUT}'\n{both}")).migrate_options().unwrap());
        assert!(shown.contains(&format!("{word:?}")), "{shown}");
    }
    fs::write(&password, "\n").unwrap();
    assert!(section.connect_options().unwrap_err().to_string().contains("empty"));
}

#[test]
fn writers_have_limits_of_time_unless_they_are_switched_off() {
    let unset = section(&format!("url = '{LOCAL}'")).set_local();
    assert!(unset.contains("'20000ms', true) WHERE current_setting('statement_timeout') = '0'"), "{unset}");
    assert!(unset.contains("'5000ms', true) WHERE current_setting('lock_timeout') = '0'"), "{unset}");
    let off = section(&format!("url = '{LOCAL}'\nstatement_timeout_ms = 0\nlock_timeout_ms = 0")).set_local();
    assert_eq!(off, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0");
}

#[test]
fn behind_a_pooler_a_session_keeps_nothing() {
    let timeouts = "statement_timeout_ms = 9000\nlock_timeout_ms = 700";
    let direct = section(&format!("url = '{LOCAL}'\n{timeouts}"));
    assert_eq!(
        direct.connect_options().unwrap().get_options(),
        Some("-c statement_timeout=9000ms -c lock_timeout=700ms")
    );
    let local = "SET LOCAL statement_timeout = 9000; SET LOCAL lock_timeout = 700";
    assert_eq!(direct.set_local(), local);
    assert_eq!(section(&format!("url = '{LOCAL}'")).connect_options().unwrap().get_options(), None);

    let pooled = section(&format!("url = '{LOCAL}'\nmigrate_url = '{LOCAL}2'\npgbouncer = true\n{timeouts}"));
    let options = pooled.connect_options().unwrap();
    assert_eq!(options.get_options(), None);
    let shown = format!("{options:?}");
    assert!(shown.contains("statement_cache_capacity: 0") && shown.contains("extra_float_digits: None"), "{shown}");
    assert_eq!(pooled.set_local(), local);
    let migrate = pooled.migrate_options().unwrap();
    assert_eq!(migrate.get_database(), Some("events2"));
    assert!(!format!("{migrate:?}").contains("statement_cache_capacity: 0"));
}
