//! A server, its config file, its ledger and its cloud.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spillway_store::{CallRow, LedgerReader, Store, StoreConfig, TimeRange};
use spillway_tests::{Client, Events, FakeBedrock, Reply, Server, Streamed, Surroundings, tiny_model};
use tempfile::TempDir;

pub(super) const CHAT: &str = "/v1/chat/completions";
/// The header that says whether a request may leave.
pub(super) const PRIVACY: &str = "x-spillway-privacy";

/// A folder with a config and a ledger, and a Bedrock that it can name.
pub(super) struct World {
    folder: TempDir,
    pub(super) cloud: FakeBedrock,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, cloud: FakeBedrock::start().await }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ledger_path(&self) -> PathBuf {
        self.path("ledger.db")
    }

    /// A backend of the cloud, named like its model, at one and five dollars a million tokens.
    pub(super) fn bedrock(&self, name: &str, more: &str) -> String {
        format!(
            "[[backends]]\nname = \"{name}\"\ntype = \"bedrock\"\nregion = \"us-east-1\"\nmodel = \"fake.{name}\"\n\
             endpoint_url = \"{}\"\nprice = {{ input = \"1\", output = \"5\" }}\n{more}\n",
            self.cloud.url()
        )
    }

    /// Writes the config: these sections after those that every test wants.
    pub(super) fn configure(&self, sections: &str) -> PathBuf {
        self.configure_with(sections, &self.ledger_path().display().to_string())
    }

    /// The same, with a ledger in memory.
    pub(super) fn configure_without_file(&self, sections: &str) -> PathBuf {
        self.configure_with(sections, "memory")
    }

    fn configure_with(&self, sections: &str, store: &str) -> PathBuf {
        let path = self.path("spillway.toml");
        let text = format!("{sections}\n[store]\npath = {store:?}\n");
        std::fs::write(&path, text).expect("the config is written");
        path
    }

    /// Starts a server on the config in force, with the cloud's credentials.
    pub(super) async fn start(&self, flags: &[&str]) -> Server {
        self.start_with(&[], flags).await
    }

    /// The same, with a tiny local model beside.
    pub(super) async fn start_with_model(&self, flags: &[&str]) -> Server {
        self.start_on(&tiny_model("tied"), flags).await
    }

    /// The same, with this local model.
    pub(super) async fn start_on(&self, model: &Path, flags: &[&str]) -> Server {
        let model = model.to_str().expect("test paths are UTF-8");
        self.start_with(&["--model", model], flags).await
    }

    async fn start_with(&self, model: &[&str], flags: &[&str]) -> Server {
        let config = self.path("spillway.toml");
        let config = config.to_str().expect("test paths are UTF-8");
        let credentials = [
            ("AWS_ACCESS_KEY_ID", FakeBedrock::ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", FakeBedrock::SECRET_ACCESS_KEY),
        ];
        self.start_as(&credentials, &[&["--config", config], model, flags].concat()).await
    }

    /// Starts a server on the config in force, with no credentials but those that this environment leads to.
    pub(super) async fn start_in(&self, environment: &[(&str, &str)]) -> Server {
        let config = self.path("spillway.toml");
        self.start_as(environment, &["--config", config.to_str().expect("test paths are UTF-8")]).await
    }

    async fn start_as(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Server {
        let no_file = self.path("none");
        std::fs::write(&no_file, "").expect("an empty file is written");
        let no_file = no_file.to_str().expect("test paths are UTF-8");
        // What is blank is not there for the SDK: so nothing is found that this machine happens to have.
        let nothing = [
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", ""),
            ("AWS_CONFIG_FILE", no_file),
            ("AWS_SHARED_CREDENTIALS_FILE", no_file),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = [&nothing, environment].concat();
        let surroundings = Surroundings { environment: &environment, certificate: None };
        Server::start_as(&surroundings, arguments).await
    }

    /// Every row of the ledger of a server that has ended, oldest first.
    pub(super) fn rows(&self) -> Vec<CallRow> {
        let reader = LedgerReader::open(&self.ledger_path()).expect("the ledger opens");
        reader.calls(TimeRange::ALL, None, u32::MAX).expect("the ledger can be read")
    }

    /// Opens the ledger as the next server would, and closes it again.
    pub(super) fn reopen_ledger(&self) {
        let store = Store::open(&StoreConfig::new(self.ledger_path())).expect("the ledger opens");
        store.close().expect("it closes");
    }
}

/// A conversation of one message.
pub(super) fn chat(model: &str, text: &str) -> Value {
    json!({"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": text}]})
}

/// Posts with headers, and waits for the whole answer.
pub(super) async fn post(client: &Client, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let mut request = client.request(reqwest::Method::POST, CHAT).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::read(request).await.expect("an answer")
}

/// Posts for a stream with headers, and reads it to its end; or the answer that is no stream.
pub(super) async fn stream(
    client: &Client,
    body: &Value,
    headers: &[(&str, &str)],
) -> Result<Streamed, Reply> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let mut request = client.request(reqwest::Method::POST, CHAT).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let events = Events::open(request).await.expect("an answer")?;
    Ok(events.collect().await.expect("a stream that ends"))
}

/// Who served, by the header.
pub(super) fn backend(reply: &Reply) -> &str {
    reply.header("x-spillway-backend").unwrap_or_default()
}
