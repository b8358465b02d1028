//! What is linked: from where, under which licence, and what never.
//!
//! Asked of `cargo tree`, for Linux with every feature. Advisories are not looked at: no copy of their list is at hand
//! where this runs.

use std::collections::BTreeSet;
use std::process::Command;

use spdx::{Expression, LicenseReq, ParseMode};

/// What a program under Apache-2.0 may link.
const LICENCES: [&str; 8] =
    ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "MIT", "MIT-0", "Unicode-3.0"];
/// The same, for single packages: the package, its licence, and why.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("cloudevents-sdk", "", "Apache-2.0, by its file alone; only tests use it"),
    ("foldhash", "Zlib", "it asks for nothing where programs are handed on"),
    ("zlib-rs", "Zlib", "it asks for nothing where programs are handed on"),
];
/// What is never linked, and why.
const BANNED: [(&str, &str); 7] = [
    ("libsqlite3-sys", "the database is PostgreSQL; the driver would build SQLite"),
    ("sqlx-mysql", "the database is PostgreSQL"),
    ("native-tls", "TLS is rustls; OpenSSL is librdkafka's alone"),
    ("openssl", "TLS is rustls; OpenSSL is librdkafka's alone"),
    ("reqwest", "hyper is the one HTTP client"),
    ("serde_yaml", "it is not maintained; serde_norway is"),
    ("async-std", "there is one runtime"),
];
/// Of these there is one version: two would not take each other's types, and take minutes to build.
const ONCE: [&str; 7] = ["axum", "http", "hyper", "rustls", "serde_json", "sqlx-core", "tokio"];

struct Package {
    name: String,
    version: String,
    /// Where it is from, if from elsewhere than crates.io.
    place: Option<String>,
    licence: String,
}

fn packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(super::root()).args(["tree", "--locked", "--workspace", "--all-features", "--no-dedupe"]);
    cargo.args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}|{l}|"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: BTreeSet<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.iter().filter(|line| !line.is_empty()).map(|line| package(line)).collect()
}

/// Reads a line such as `serde v1.0.0|MIT OR Apache-2.0|`.
fn package(line: &str) -> Package {
    let fields: Vec<&str> = line.split('|').collect();
    let words: Vec<&str> = fields[0].splitn(3, ' ').collect();
    let place = words.get(2).and_then(|rest| rest.strip_prefix('(')).filter(|place| !place.starts_with("proc-macro"));
    Package {
        name: words[0].to_owned(),
        version: words[1].to_owned(),
        place: place.map(str::to_owned),
        licence: fields[1].to_owned(),
    }
}

fn is_allowed(package: &Package) -> bool {
    let of_package = |(name, licence, _): &&(&str, &str, &str)| *name == package.name && *licence == package.licence;
    if EXCEPTIONS.iter().any(|exception| of_package(&exception)) {
        return true;
    }
    let id = |wanted: &LicenseReq| wanted.license.id().is_some_and(|id| LICENCES.contains(&id.name));
    // Some packages still divide by a slash.
    let Ok(expression) = Expression::parse_mode(&package.licence, ParseMode::LAX) else { return false };
    expression.evaluate(id)
}

#[test]
fn every_package_has_a_licence_that_may_be_linked() {
    let packages = packages();
    assert!(packages.len() > 300, "the packages are found at all");
    let wrong = packages.iter().filter(|package| !is_allowed(package));
    super::none("licences", wrong.map(|package| format!("{}: {}", package.name, package.licence)).collect());
    let is_used = |name: &str| packages.iter().any(|package| package.name == name);
    let needless = EXCEPTIONS.iter().filter(|(name, ..)| !is_used(name));
    super::none("exceptions of no use", needless.map(|(name, ..)| (*name).to_owned()).collect());
}

#[test]
fn every_package_is_the_registrys_or_the_projects() {
    let elsewhere = |package: &&Package| package.place.as_ref().is_some_and(|place| !place.starts_with('/'));
    let packages = packages();
    let wrong = packages.iter().filter(elsewhere);
    super::none("elsewhere", wrong.map(|package| format!("{} {:?}", package.name, package.place)).collect());
}

#[test]
fn nothing_is_linked_that_is_banned_or_there_twice() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, why) in BANNED {
        wrong.extend(packages.iter().filter(|package| package.name == name).map(|_| format!("{name}: {why}")));
    }
    for name in ONCE {
        let versions: BTreeSet<&str> =
            packages.iter().filter(|package| package.name == name).map(|package| package.version.as_str()).collect();
        if versions.len() != 1 {
            wrong.push(format!("{name}: {versions:?}"));
        }
    }
    super::none("banned", wrong);
}
