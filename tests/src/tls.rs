//! Certificates made on the spot, and TLS switched on in the test cluster.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::database::Database;
use crate::wait::until;

/// The authorities of the test run: the cluster is one, and its certificate stays for as long as it runs.
static AUTHORITY: OnceCell<Authority> = OnceCell::const_new();

/// Files of certificates: of who signed the server's, and of somebody else.
#[derive(Debug)]
pub struct Authority {
    /// Has signed the certificate of the server, which is for `localhost` and no other name.
    pub ca: PathBuf,
    /// Has signed nothing.
    pub stranger: PathBuf,
}

/// Makes the test cluster take TLS. `None` where there is no openssl.
///
/// # Panics
/// If the server does not take the certificate.
pub async fn switch_on(database: &Database) -> Option<&'static Authority> {
    if !crate::has_program("openssl") {
        return None;
    }
    Some(AUTHORITY.get_or_init(|| make(database)).await)
}

async fn make(database: &Database) -> Authority {
    let data = database.data_dir();
    // Beside the data, which is removed as a whole.
    let dir = &data.with_file_name("tls");
    std::fs::create_dir(dir).expect("make a directory");
    for name in ["ca", "stranger"] {
        openssl(
            dir,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
            ),
        );
    }
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost\n").expect("write names");
    openssl(
        dir,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
    let owner = std::fs::metadata(&data).expect("look at the cluster");
    for name in ["server.crt", "server.key"] {
        let file = data.join(name);
        // openssl makes keys that only their owner reads, and copying keeps that.
        std::fs::copy(dir.join(name), &file).expect("copy");
        chown(&file, Some(owner.uid()), Some(owner.gid())).expect("give it to the server");
    }
    database.execute("ALTER SYSTEM SET ssl = on").await;
    database.execute("SELECT pg_reload_conf()").await;
    until("the server to take TLS", Duration::from_secs(60), || async {
        (database.number("SELECT (current_setting('ssl') = 'on')::int").await == 1).then_some(())
    })
    .await;
    Authority { ca: dir.join("ca.pem"), stranger: dir.join("stranger.pem") }
}

fn openssl(dir: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("start openssl");
    assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
}
