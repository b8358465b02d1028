//! PostgreSQL for a machine without it: one archive, pinned by version and SHA-256, unpacked under the cluster's home.
//!
//! It is there whole or not at all, also after a kill during the fetch, and several programs may ask for it at once.
//! The archive is zonky's build for embedding: `initdb`, `pg_ctl`, `postgres` and contrib, without `psql`.
//! To add a platform, add its name and the SHA-256 of its jar to `ARCHIVE`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest, Sha256};

/// Where the archive is published.
pub const MAVEN_CENTRAL: &str = "https://repo1.maven.org/maven2";

const VERSION: &str = "18.6.0";
/// The archive's name for this platform, and the SHA-256 of its jar.
const ARCHIVE: Option<(&str, &str)> = if cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
    Some(("linux-amd64", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"))
} else {
    None
};
/// The jar has 15 MB. A far larger file is another one and is not kept in memory.
const JAR_BYTES_MAX: usize = 64 << 20;
/// Unpacked it has 60 MB, as a tar and as files.
const TREE_BYTES_MAX: u64 = 512 << 20;
/// 15 MB over 400 kbit/s. A program that waits for the fetch of another waits as long.
const FETCH_WITHIN: Duration = Duration::from_secs(300);
const TURN_POLL: Duration = Duration::from_millis(50);

/// Why PostgreSQL could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No archive is pinned for this machine.
    #[error("no PostgreSQL archive is known for this platform ({} {})", std::env::consts::OS, std::env::consts::ARCH)]
    Platform,
    /// The download failed.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The address.
        url: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The archive is not the pinned one.
    #[error("{url} is not the archive that was expected (SHA-256 differs)")]
    Other {
        /// The address.
        url: String,
    },
    /// The archive could not be unpacked here.
    #[error("cannot unpack PostgreSQL into {}", dir.display())]
    Unpack {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// Another program has been fetching for too long.
    #[error("another process holds {}", lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
}

/// Fetches PostgreSQL 18.6 from `base` ([`MAVEN_CENTRAL`] or a mirror of it) into `home`, where
/// [`Cluster::open`](crate::Cluster::open) looks. Returns its directory; does nothing if it is there already.
///
/// A company's certificates are taken from the operating system. HTTPS_PROXY is ignored: use a mirror.
///
/// # Errors
/// See [`Error`]. Nothing is left behind but a lock file.
pub async fn fetch(home: &Path, base: &str) -> Result<PathBuf, Error> {
    let (platform, sha256) = ARCHIVE.ok_or(Error::Platform)?;
    let dir = home.join("postgres").join(VERSION);
    let unpack_error = |source| Error::Unpack { dir: dir.clone(), source };
    fs::create_dir_all(home.join("postgres")).map_err(unpack_error)?;
    let _turn = turn(home.join("postgres/fetch.lock")).await?;
    if dir.join("bin/postgres").is_file() {
        return Ok(dir);
    }
    let name = format!("embedded-postgres-binaries-{platform}");
    let url = format!("{base}/io/zonky/test/postgres/{name}/{VERSION}/{name}-{VERSION}.jar");
    let got = tokio::time::timeout(FETCH_WITHIN, get(&url)).await.unwrap_or_else(|late| Err(late.into()));
    let jar = got.map_err(|source| Error::Fetch { url: url.clone(), source })?;
    let into = home.join("postgres").join(format!("new-{VERSION}"));
    // This takes a core about a second; other tasks of this thread should not wait for it.
    let work = {
        let dir = dir.clone();
        let into = into.clone();
        tokio::task::spawn_blocking(move || {
            if hex(&Sha256::digest(&jar)) != sha256 {
                return Err(Error::Other { url });
            }
            unpack(&jar, &into, &dir).map_err(|source| Error::Unpack { dir, source })
        })
    };
    work.await.map_err(|error| unpack_error(error.into()))??;
    tracing::info!(dir = %dir.display(), "fetched PostgreSQL");
    Ok(dir)
}

async fn get(url: &str) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.get(url.parse()?).await?;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    Ok(Limited::new(response.into_body(), JAR_BYTES_MAX).collect().await?.to_bytes())
}

/// Unpacks beside the final place and renames. The caller must hold the lock.
fn unpack(jar: &[u8], into: &Path, dir: &Path) -> io::Result<()> {
    if into.exists() {
        // A killed process left it.
        fs::remove_dir_all(into)?;
    }
    let mut jar = zip::ZipArchive::new(Cursor::new(jar))?;
    let is_txz =
        |index: &usize| jar.name_for_index(*index).is_some_and(|name| name.is_ok_and(|name| name.ends_with(".txz")));
    let index = (0..jar.len()).find(is_txz).ok_or_else(|| io::Error::other("no .txz in the archive"))?;
    let mut txz = Vec::new();
    jar.by_index(index)?.take(TREE_BYTES_MAX).read_to_end(&mut txz)?;
    let tree = lzma_rust2::XzReader::new(Cursor::new(txz), true).take(TREE_BYTES_MAX);
    let mut tree = tar::Archive::new(tree);
    // The account that the server runs as must have access, whatever our umask is.
    tree.set_preserve_permissions(true);
    tree.unpack(into)?;
    fs::rename(into, dir)
}

async fn turn(lock: PathBuf) -> Result<File, Error> {
    let began = Instant::now();
    let open = || File::options().create(true).truncate(false).write(true).open(&lock);
    let file = open().map_err(|source| Error::Unpack { dir: lock.clone(), source })?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < FETCH_WITHIN => {
                tokio::time::sleep(TURN_POLL).await;
            }
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { lock }),
            Err(TryLockError::Error(source)) => return Err(Error::Unpack { dir: lock, source }),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
