//! nginx and HAProxy, where they are installed: each with one worker, keep-alive on both sides, and the headers that a
//! gateway adds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

/// Where a program lies: packages install these two outside of the usual path of a user.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// The command of nginx. As one process without a master, so that it ends when it is killed.
pub(super) fn nginx(
    program: &Path,
    directory: &Path,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> anyhow::Result<Command> {
    let place = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {place}/{kind};\n"))
        .concat();
    let configuration = format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/nginx.error;
events {{ worker_connections 1024; }}
http {{
{temporary}  access_log off;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  upstream tasks {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://tasks;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"
    );
    let file = written(directory, "nginx.conf", &configuration)?;
    let mut command = Command::new(program);
    command.arg("-e").arg(directory.join("nginx.error")).arg("-c").arg(file);
    Ok(command)
}

/// The command of HAProxy.
pub(super) fn haproxy(
    program: &Path,
    directory: &Path,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> anyhow::Result<Command> {
    let configuration = format!(
        "global
  nbthread 1
  maxconn 1024
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 60s
  option http-keep-alive
  option forwardfor
  http-reuse always
frontend clients
  bind {listen}
  http-request set-header X-Forwarded-Proto http
  default_backend tasks
backend tasks
  server task {upstream}
"
    );
    let file = written(directory, "haproxy.cfg", &configuration)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-q").arg("-f").arg(file);
    Ok(command)
}

fn written(directory: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let file = directory.join(name);
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}
