//! Configs that change while a server runs, with a stand-in for the server.

use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

const FILE: &str = "[model]\nmodel = \"demo\"\nserved_model_name = \"one\"\n";

/// Remembers the names of the routes that it was given; refuses those that it is told to.
#[derive(Default)]
struct Fake {
    applied: Vec<Vec<String>>,
    refused: Option<&'static str>,
}

impl Apply for Fake {
    fn apply<'a>(&'a mut self, config: &'a ServeConfig) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            if let Some(reason) = self.refused {
                anyhow::bail!(reason);
            }
            self.applied.push(config.routing.routes.iter().map(|route| route.id.to_string()).collect());
            Ok(())
        })
    }
}

struct Running {
    file: tempfile::NamedTempFile,
    reload: Reload<Fake>,
}

impl Running {
    fn start(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        let source = ConfigSource::without_flags(file.path());
        let running = source.read().expect("it can be followed");
        Self { reload: Reload::new(source, running, Fake::default()), file }
    }

    /// The file gets this text, of another length than before.
    fn write(&self, text: &str) {
        std::fs::write(self.file.path(), text).expect("it can be written");
    }

    /// What comes of two looks: a change is followed at the second.
    async fn two_looks(&mut self) -> [Option<Outcome>; 2] {
        [self.reload.look().await, self.reload.look().await]
    }
}

fn with_route(name: &str) -> String {
    format!("{FILE}[[routes]]\nname = \"{name}\"\ntargets = [\"local\"]\n")
}

#[tokio::test]
async fn a_change_is_followed_once_it_has_settled_and_only_once() {
    let mut running = Running::start(FILE);
    assert_eq!(running.two_looks().await, [None, None], "nothing has changed");
    running.write(&with_route("first"));
    assert_eq!(running.reload.look().await, None, "it may still be being written");
    running.write(&with_route("second"));
    assert_eq!(running.two_looks().await, [None, Some(Outcome::Applied)]);
    assert_eq!(running.two_looks().await, [None, None]);
    assert_eq!(running.reload.apply.applied, [["second"]]);
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_config_in_force_and_is_told_once() {
    let mut running = Running::start(&with_route("first"));
    running.write("[[routes]]\nname = \n");
    assert_eq!(running.two_looks().await, [None, Some(Outcome::Refused)]);
    assert_eq!(running.two_looks().await, [None, None], "it was told");
    assert_eq!(running.reload.running.routing.routes[0].id.as_str(), "first");
    assert!(running.reload.apply.applied.is_empty());
    running.write(&with_route("mended"));
    assert_eq!(running.two_looks().await, [None, Some(Outcome::Applied)]);
    std::fs::remove_file(running.file.path()).expect("it is there");
    assert_eq!(running.two_looks().await, [None, Some(Outcome::Refused)]);
    assert_eq!(running.reload.running.routing.routes[0].id.as_str(), "mended");
}

#[tokio::test]
async fn a_config_that_cannot_be_built_leaves_the_old_one_in_force() {
    let mut running = Running::start(FILE);
    running.reload.apply.refused = Some("no such region");
    running.write(&with_route("first"));
    assert_eq!(running.reload.read_anew().await, Outcome::Refused);
    assert_eq!(running.reload.running.routing.routes[0].id.as_str(), "local");
    running.reload.apply.refused = None;
    assert_eq!(running.reload.read_anew().await, Outcome::Applied, "a signal tries again");
}

#[tokio::test]
async fn what_cannot_change_stays_and_the_rest_is_applied() {
    let mut running = Running::start(FILE);
    running.write(&format!("{}[server]\nport = 9\n", with_route("first").replace("demo", "/m/other.gguf")));
    let reread = running.reload.source.reread(&running.reload.running).expect("it can be followed");
    assert_eq!(reread.kept, ["[model]", "[server]"]);
    assert_eq!(running.reload.read_anew().await, Outcome::Applied);
    let now = &running.reload.running;
    assert_eq!((now.http.public.port, now.routing.routes[0].id.as_str()), (8000, "first"));
    let engine = now.engine.as_ref().expect("it runs");
    assert!(matches!(engine.model.choice, crate::config::ModelChoice::Demo { .. }));
}

#[tokio::test]
async fn the_names_of_the_running_model_stay_those_that_it_has() {
    let mut running = Running::start(FILE);
    running.write(&FILE.replace("\"one\"", "\"another\""));
    assert_eq!(running.reload.read_anew().await, Outcome::Applied);
    assert_eq!(running.reload.running.routing.routes[0].models[0].as_str(), "one");
}

#[tokio::test]
async fn a_file_that_the_config_names_is_watched_too() {
    let keys = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(keys.path(), "sk-1\n").expect("it can be written");
    let text = format!("{FILE}[security]\napi_key_file = \"{}\"\n", keys.path().display());
    let mut running = Running::start(&text);
    assert_eq!(running.two_looks().await, [None, None]);
    std::fs::write(keys.path(), "sk-1\nsk-2\n").expect("it can be written");
    assert_eq!(running.two_looks().await, [None, Some(Outcome::Applied)]);
    let keys = running.reload.running.security.api_keys.as_ref().expect("there are two");
    assert!(keys.find(b"sk-2").is_some());
}

#[test]
fn outcomes_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let mut running = Running::start(FILE);
            running.reload.read_anew().await;
            running.write("nonsense");
            running.reload.read_anew().await;
            running.reload.read_anew().await;
        });
    });
    let text = recorder.handle().render();
    for line in [
        "spillway_config_reloads_total{result=\"applied\"} 1",
        "spillway_config_reloads_total{result=\"refused\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
