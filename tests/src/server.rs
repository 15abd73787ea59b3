//! The built binary as a process of its own: started on a free port, asked over real sockets, killed at the end.
//!
//! A test that fails shows the server's log. Nothing sleeps: waiting is for a line of the log, for an answer, or for the
//! process to end, each with a deadline.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Command as Shell, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::client::{Client, Reply};
use crate::events::{Events, Streamed};
use crate::scrape::Scrape;

/// Longest wait for anything. Far above what a busy machine needs: only what hangs takes so long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time between two looks at something that changes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    client: Client,
    /// Of the administrators' port, if there is one.
    admin: Option<Client>,
    log: Arc<Mutex<Vec<String>>>,
    lines: mpsc::UnboundedReceiver<String>,
    reader: Option<JoinHandle<()>>,
}

/// What a server finds where it is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// Variables of its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// The certificate that its clients trust, as PEM.
    pub certificate: Option<&'a str>,
}

/// The built binary: beside the folder of the running test.
///
/// # Panics
///
/// If it was not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
    let path = profile.join("spillway");
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace`", path.display());
    path
}

/// Runs the binary to its end.
///
/// # Panics
///
/// If it cannot be started, or does not end.
pub async fn run_to_end(arguments: &[&str]) -> Output {
    run_with(&[], arguments).await
}

/// As [`run_to_end`], with variables of the environment.
///
/// # Panics
///
/// As [`run_to_end`].
pub async fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    within("the end of the process", command.output()).await.expect("the binary starts")
}

/// Waits for something, with a deadline.
///
/// # Panics
///
/// If it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

impl Server {
    /// Starts the binary on a model and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready; its log is shown.
    pub async fn start(model: &Path, flags: &[&str]) -> Self {
        Self::start_with(&[], model.as_os_str(), flags).await
    }

    /// As [`Server::start`], with variables of the environment, on whatever the binary takes for a model.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub async fn start_with(variables: &[(&str, &str)], model: &OsStr, flags: &[&str]) -> Self {
        Self::start_in(&Surroundings { environment: variables, certificate: None }, model, flags).await
    }

    /// The same, in given surroundings.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub async fn start_in(surroundings: &Surroundings<'_>, model: &OsStr, flags: &[&str]) -> Self {
        let model = [OsStr::new("--model"), model];
        let flags = flags.iter().map(OsStr::new);
        Self::start_as(surroundings, model.into_iter().chain(flags)).await
    }

    /// The same, with these arguments of `serve` and no others but for the port and the form of the log.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub async fn start_as(
        surroundings: &Surroundings<'_>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let (output, input) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(binary());
        command.args(["serve", "--port", "0", "--log-format", "json"]).args(arguments);
        command.stdin(Stdio::null()).stderr(input).kill_on_drop(true);
        command.env_remove("SPILLWAY_API_KEY").envs(surroundings.environment.iter().copied());
        let child = command.spawn().expect("the binary starts");
        // It holds the other end of the pipe, whose end must come with the server's.
        drop(command);

        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut lines) = mpsc::unbounded_channel();
        let reader = {
            let log = Arc::clone(&log);
            std::thread::spawn(move || read_log(output, &log, &sender))
        };
        let (address, admin) = within("the server to listen", listening(&mut lines)).await;
        let client_of = |base: &str| Client::trusting(base, surroundings.certificate).expect("a client");
        let client = client_of(address.as_deref().unwrap_or_default());
        let admin = admin.as_deref().map(client_of);
        let server = Self { child, client, admin, log, lines, reader: Some(reader) };
        assert!(address.is_some(), "the server ended before it listened");
        server.until("/health to be 200", async || server.get("/health").await.status == 200).await;
        server
    }

    /// A client of the administrators' port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn admin(&self) -> Client {
        self.admin.clone().expect("the server was started with --admin-port")
    }

    /// A client of its own, to send requests side by side.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Reads a path.
    ///
    /// # Panics
    ///
    /// If the connection fails.
    pub async fn get(&self, path: &str) -> Reply {
        self.client.get(path).await.expect("an answer")
    }

    /// Posts JSON, and waits for the whole answer.
    ///
    /// # Panics
    ///
    /// If the connection fails.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.client.post(path, body).await.expect("an answer")
    }

    /// Posts JSON that asks for a stream.
    ///
    /// # Panics
    ///
    /// If the answer is no stream.
    pub async fn open(&self, path: &str, body: &Value) -> Events {
        self.client.open(path, body).await.expect("a stream")
    }

    /// Posts JSON with `stream` and the usage asked for, and reads the stream to its end.
    ///
    /// # Panics
    ///
    /// If the stream breaks, or an error ends it.
    pub async fn stream(&self, path: &str, body: &Value) -> Streamed {
        let mut body = body.clone();
        body["stream"] = Value::Bool(true);
        body["stream_options"] = serde_json::json!({"include_usage": true});
        let streamed = self.open(path, &body).await.collect().await.expect("a whole stream");
        assert_eq!(streamed.error, None);
        streamed
    }

    /// All metrics.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub async fn metrics(&self) -> Scrape {
        let client = self.admin.as_ref().unwrap_or(&self.client);
        let reply = client.get("/metrics").await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text);
        Scrape::new(reply.text)
    }

    /// Waits until a metric has a value.
    ///
    /// # Panics
    ///
    /// If it never has.
    pub async fn until_metric(&self, name: &str, label: &str, wanted: f64) {
        let is_there = async || {
            self.metrics().await.value(name, label).is_some_and(|value| value.total_cmp(&wanted).is_eq())
        };
        self.until(&format!("{name}{{{label}}} to be {wanted}"), is_there).await;
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    ///
    /// If it never does.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let looks = async {
            let mut pace = tokio::time::interval(LOOK_AGAIN);
            while !holds().await {
                pace.tick().await;
            }
        };
        within(what, looks).await;
    }

    /// Waits for a line of the log that contains `text`.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn until_logged(&mut self, text: &str) {
        let seen = async {
            while let Some(line) = self.lines.recv().await {
                if line.contains(text) {
                    return true;
                }
            }
            false
        };
        let is_seen = within(&format!("`{text}` in the log"), seen).await;
        assert!(is_seen, "the log ended without `{text}`");
    }

    /// All lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    ///
    /// If the server has ended already.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, as in `HUP`.
    ///
    /// # Panics
    ///
    /// If the server has ended already.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("the server is running").to_string();
        let status = Shell::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &id, name]).status();
        let status = status.expect("a shell");
        assert!(status.success(), "kill: {status}");
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn exited(&mut self) -> ExitStatus {
        within("the server to end", self.child.wait()).await.expect("a status")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.start_kill());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log().join("\n"));
        }
    }
}

/// Waits until the server listens: its address, and that of the administrators' port. No address if the log ends.
async fn listening(lines: &mut mpsc::UnboundedReceiver<String>) -> (Option<String>, Option<String>) {
    let mut admin = None;
    while let Some(line) = lines.recv().await {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        let address = line["address"].as_str().map(str::to_owned);
        if line["message"] == "listening" {
            return (address, admin);
        }
        if line["message"] == "listening for administrators" {
            admin = address;
        }
    }
    (None, admin)
}

/// Keeps every line, and passes it on to whoever waits for one.
fn read_log(output: PipeReader, log: &Mutex<Vec<String>>, sender: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        // Nobody may be waiting any more.
        drop(sender.send(line));
    }
}
