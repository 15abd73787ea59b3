//! `MiniStack` as a process of its own: an emulator of AWS, written by others, that speaks Bedrock's wire format.
//!
//! It answers with a fixed text, or asks an OpenAI-compatible server. It checks no signatures, counts tokens by letters
//! and sends a stream's events all at once: what it is good for is that somebody else read Bedrock's documentation.

use std::net::Ipv4Addr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::places::cache_folder;
use crate::server::within;

/// The folder that `scripts/fetch-ministack.sh` puts it into.
const FOLDER: &str = "ministack-1.5.33";

/// A running emulator. Dropping it kills it.
pub struct MiniStack {
    url: String,
    _child: Child,
    /// Reads what it prints, so that it never waits for a reader.
    _reader: JoinSet<()>,
    /// Its home: what it keeps, it keeps there.
    _home: TempDir,
}

impl MiniStack {
    /// Starts it on a free port, before this OpenAI-compatible server if one is given; `None`, with a word about it, if
    /// it is not in the cache folder.
    ///
    /// # Panics
    ///
    /// If it is there and does not start.
    pub async fn start(model_server: Option<&str>) -> Option<Self> {
        let program = cache_folder().join(FOLDER).join("bin").join("ministack");
        if !program.is_file() {
            eprintln!("SKIPPED: {} is not there: run `scripts/fetch-ministack.sh`", program.display());
            return None;
        }
        let port = free_port().await;
        let home = TempDir::new().expect("a folder for what it keeps");
        let mut command = Command::new(program);
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("HOME", home.path())
            .env("PYTHONUNBUFFERED", "1")
            .env_remove("MINISTACK_BEDROCK_PROXY_URL")
            .envs(model_server.map(|url| ("MINISTACK_BEDROCK_PROXY_URL", url)))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let output = child.stderr.take().expect("it was asked for");
        let reader = within("MiniStack to listen", until_ready(output)).await;
        Some(Self { url: format!("http://127.0.0.1:{port}"), _child: child, _reader: reader, _home: home })
    }

    /// Its address, for `endpoint_url`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A port that nobody has at this moment.
async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits for the line by which it says that it listens, and goes on reading.
async fn until_ready(output: impl AsyncRead + Send + Unpin + 'static) -> JoinSet<()> {
    let mut lines = BufReader::new(output).lines();
    let mut said = Vec::new();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line.contains("Running on http") => break,
            Ok(Some(line)) => said.push(line),
            Ok(None) | Err(_) => panic!("MiniStack ended before it listened:\n{}", said.join("\n")),
        }
    }
    let mut reader = JoinSet::new();
    reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    reader
}
