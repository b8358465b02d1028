//! A real PgBouncer in transaction mode, in front of the test cluster.
//!
//! It runs as the account of PostgreSQL, because it refuses to be root, and dies with the test.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::database::Database;
use crate::wait::until;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A pooler of one database for one account. Killed when it is dropped.
#[derive(Debug)]
pub struct Bouncer {
    child: Child,
    port: u16,
    account: (u32, u32),
    scratch: tempfile::TempDir,
}

impl Bouncer {
    /// With so many server connections, for a role and its password. `None` where there is no PgBouncer.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(database: &Database, role: &str, password: &str, pool_size: u32) -> Option<Self> {
        if !crate::has_program("pgbouncer") {
            return None;
        }
        let scratch = crate::scratch();
        let port = crate::free_port().expect("a free port");
        let server = std::fs::metadata(database.data_dir()).expect("look at the cluster");
        let ini = format!(
            "[databases]\n{name} = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\npool_mode = transaction\ndefault_pool_size = {pool_size}\n\
             auth_type = scram-sha-256\nauth_file = {users}\n",
            name = database.name,
            server_port = database.port(),
            users = scratch.path().join("users.txt").display(),
        );
        std::fs::write(scratch.path().join("bouncer.ini"), ini).expect("write its configuration");
        std::fs::write(scratch.path().join("users.txt"), format!("\"{role}\" \"{password}\"\n")).expect("write users");
        let account = (server.uid(), server.gid());
        let child = spawn(scratch.path(), account);
        let bouncer = Bouncer { child, port, account, scratch };
        bouncer.answers().await;
        Some(bouncer)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gone at once (SIGKILL), and collected.
    ///
    /// # Panics
    /// If the kernel does not do it.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("collect PgBouncer");
    }

    /// Started again, on the same port.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.child = spawn(self.scratch.path(), self.account);
        self.answers().await;
    }

    async fn answers(&self) {
        until("PgBouncer to listen", Duration::from_secs(60), || async {
            TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(scratch: &Path, (uid, gid): (u32, u32)) -> Child {
    // A test run that is killed leaves no process behind.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.args(["--", PROGRAM, "--quiet"]).arg(scratch.join("bouncer.ini"));
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start PgBouncer")
}
