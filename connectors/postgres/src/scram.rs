//! The SCRAM-SHA-256 verifier (RFC 5802, RFC 7677) that PostgreSQL stores in place of a password.
//!
//! It is computed here, so that no statement holds a password: statements appear in logs of the server and the driver,
//! in `pg_stat_activity` and in `pg_stat_statements`. A verifier does not allow a login.

use std::fs::File;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// PostgreSQL's own default of `scram_iterations`. More slows down guessing a weak password, but also every login.
const ITERATIONS: u32 = 4096;
/// The length of PostgreSQL's own salts.
const SALT_BYTES: usize = 16;

/// The verifier of a password, with a salt of its own; `PASSWORD '..'` accepts it in place of the password.
///
/// # Errors
/// The source of randomness failed.
pub fn verifier(password: &str) -> io::Result<String> {
    let mut salt = [0u8; SALT_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(salted(password, &salt, ITERATIONS))
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> String {
    // A text that cannot be prepared is used as it is; the server does the same.
    let prepared = stringprep::saslprep(password).unwrap_or(password.into());
    let salted = stretched(prepared.as_bytes(), salt, iterations);
    let stored: [u8; 32] = Sha256::digest(mac(&salted, &[b"Client Key"])).into();
    let server = mac(&salted, &[b"Server Key"]);
    let text = |bytes: &[u8]| STANDARD.encode(bytes);
    format!("SCRAM-SHA-256${iterations}:{}${}:{}", text(salt), text(&stored), text(&server))
}

/// `Hi` of RFC 5802, which is PBKDF2 with HMAC-SHA-256 and one block.
fn stretched(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut last = mac(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = mac(password, &[&last]);
        sum.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts a key of any length: it hashes a longer one first.
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3: the verifier must let that client in, and prove the server to it.
    #[test]
    fn the_example_of_the_standard_fits() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let text = salted("pencil", &salt, 4096);
        let (head, keys) = text.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let (stored, server) = keys.split_once(':').unwrap();
        let messages = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
             r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
             c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let stored = STANDARD.decode(stored).unwrap();
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = mac(&stored, &[messages.as_bytes()]);
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        assert_eq!(Sha256::digest(&client_key).as_slice(), stored);
        let server = STANDARD.decode(server).unwrap();
        let proof_of_server = STANDARD.encode(mac(&server, &[messages.as_bytes()]));
        assert_eq!(proof_of_server, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn each_has_a_salt_of_its_own_and_no_password_in_it() {
        let one = verifier("pencil").unwrap();
        let other = verifier("pencil").unwrap();
        assert_ne!(one, other);
        assert!(!one.contains("pencil") && one.starts_with("SCRAM-SHA-256$4096:"), "{one}");
    }

    /// SASLprep (RFC 4013) as clients do it: a wide letter is the plain one, a soft hyphen is nothing.
    #[test]
    fn a_password_is_prepared_as_clients_prepare_it() {
        let salt = [7; SALT_BYTES];
        assert_eq!(salted("I\u{ad}X", &salt, 1), salted("IX", &salt, 1));
        assert_eq!(salted("\u{2168}", &salt, 1), salted("IX", &salt, 1));
        // A control character cannot be prepared.
        assert_ne!(salted("\u{7}", &salt, 1), salted("", &salt, 1));
    }
}
