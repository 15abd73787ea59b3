//! Models of a hub: named, chosen, fetched, gone on with, checked, found again without a network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;
use spillway_tests::{Fault, HubRepository, RepositoryAccess, Server, TestHub, run_with, tiny_model};
use tempfile::TempDir;

use super::requests::{COMPLETIONS, greedy, with};

/// Bytes of one piece of a download.
const PIECE_BYTES: usize = 16 << 20;

/// A hub, and a home with an empty cache.
struct Rig {
    hub: TestHub,
    home: TempDir,
}

/// What a command left.
struct Ran {
    is_success: bool,
    stdout: String,
    stderr: String,
}

impl Rig {
    async fn new() -> Self {
        Self { hub: TestHub::start().await, home: tempfile::tempdir().expect("a folder") }
    }

    fn variables<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let home = self.home.path().to_str().expect("test paths are UTF-8");
        let mut variables = vec![("HF_ENDPOINT", self.hub.address()), ("HF_HOME", home)];
        // Whatever the environment of the tests says, it says nothing here.
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"] {
            variables.push((name, ""));
        }
        variables.push(("NO_PROXY", "127.0.0.1,localhost"));
        variables.extend(more);
        variables
    }

    async fn pull(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ran {
        let output = run_with(&self.variables(more), &[&["pull"], arguments].concat()).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ran { is_success: output.status.success(), stdout, stderr }
    }

    async fn fetched(&self, arguments: &[&str]) -> PathBuf {
        let ran = self.pull(arguments, &[]).await;
        assert!(ran.is_success, "{}", ran.stderr);
        PathBuf::from(ran.stdout.trim().strip_prefix("fetched ").expect("it was fetched"))
    }

    async fn refused(&self, arguments: &[&str], more: &[(&str, &str)], says: &[&str]) {
        let ran = self.pull(arguments, more).await;
        assert!(!ran.is_success, "{arguments:?} was let through");
        for part in says {
            assert!(ran.stderr.contains(part), "{arguments:?}: `{part}` is not in `{}`", ran.stderr);
        }
    }

    fn repository(&self, folder: &str) -> PathBuf {
        self.home.path().join("hub").join(folder)
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("test names are UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// A repository with one file of two pieces and a half, each byte its own.
fn large_repository() -> HubRepository {
    let bytes =
        (0..5 * PIECE_BYTES / 2).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let files = [("big.gguf".to_owned(), bytes)].into();
    HubRepository { commit: "c".repeat(40), files, ..HubRepository::default() }
}

#[tokio::test]
async fn a_folder_is_fetched_once_in_the_layout_of_the_hubs_tools_and_served() {
    let rig = Rig::new().await;
    let mut repository = HubRepository::of_folder(&tiny_model("tied"), 'a');
    repository.files.insert("pytorch_model.bin".to_owned(), vec![0; 50_000]);
    repository.files.insert("README.md".to_owned(), b"hello".to_vec());
    rig.hub.put("org/tied", repository);

    let server = Server::start_with(&rig.variables(&[]), OsStr::new("org/tied"), &[]).await;
    let answer = server.post(COMPLETIONS, &with(greedy("The river", 4), json!({"model": "org/tied"}))).await;
    assert_eq!((answer.status, &answer.json()["model"]), (200, &json!("org/tied")));
    drop(server);

    let folder = rig.repository("models--org--tied");
    assert_eq!(names_in(&folder), ["blobs", "refs", "snapshots"]);
    let commit = "a".repeat(40);
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).expect("it is there"), commit);
    assert_eq!(names_in(&folder.join("refs")), ["main"]);
    let snapshot = folder.join("snapshots").join(&commit);
    let taken = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names_in(&snapshot), taken);
    for name in taken {
        let link = std::fs::read_link(snapshot.join(name)).expect("snapshots are links");
        assert!(link.starts_with("../../blobs"), "{}", link.display());
        let expected = std::fs::read(tiny_model("tied").join(name)).expect("it is there");
        assert_eq!(std::fs::read(snapshot.join(name)).expect("it is there"), expected);
    }

    rig.hub.take_requests();
    let again = rig.pull(&["org/tied"], &[]).await;
    assert_eq!(again.stdout.trim(), format!("{} is there and whole", snapshot.display()));
    assert_eq!(rig.hub.take_requests(), []);
}

#[tokio::test]
async fn a_new_commit_with_the_same_contents_costs_links_only() {
    let rig = Rig::new().await;
    let mut repository = HubRepository::of_folder(&tiny_model("sharded"), 'a');
    rig.hub.put("org/sharded", repository.clone());
    let first = rig.fetched(&["org/sharded"]).await;
    assert_eq!(names_in(&first).len(), 7);
    repository.commit = "b".repeat(40);
    rig.hub.put("org/sharded", repository);
    rig.hub.take_requests();
    let second = rig.pull(&["org/sharded"], &[]).await;
    let second =
        PathBuf::from(second.stdout.trim().strip_suffix(" is there and whole").expect("nothing came"));
    assert_eq!((names_in(&second), rig.hub.take_requests()), (names_in(&first), Vec::new()));
    assert_ne!(first, second);
    let index = "model.safetensors.index.json";
    let read = |folder: &Path| std::fs::read(folder.join(index)).expect("the link leads somewhere");
    assert_eq!(read(&first), read(&second));
    // A commit can be named itself, and then needs no reference.
    rig.pull(&["org/sharded", "--revision", &"b".repeat(40)], &[]).await;
    assert_eq!(names_in(&rig.repository("models--org--sharded/refs")), ["main"]);
}

#[tokio::test]
async fn a_gguf_file_is_chosen_by_its_quantisation_and_served_by_its_id() {
    let rig = Rig::new().await;
    rig.hub.put("org/quants", HubRepository::of_folder(&tiny_model("gguf"), 'a'));
    rig.refused(&["org/quants"], &[], &["several GGUF files", "tied-q4_0.gguf", "tied-q8_0.gguf"]).await;
    rig.refused(&["org/quants:Q8_0"], &[], &["are of quantisation `Q8_0`", "llama2-q8_0.gguf"]).await;
    rig.refused(&["org/quants:Q6_K"], &[], &["no GGUF file", "`Q6_K`", "tied-q4_1.gguf"]).await;
    rig.refused(&["org/quants/x.gguf"], &[], &["no file `x.gguf`", "tied-q4_1.gguf"]).await;
    let path = rig.fetched(&["org/quants:q4_1"]).await;
    assert!(path.ends_with("tied-q4_1.gguf"), "{}", path.display());
    let path = rig.fetched(&["org/quants/tied-q8_0.gguf@main"]).await;
    assert_eq!(names_in(path.parent().expect("a folder")), ["tied-q4_1.gguf", "tied-q8_0.gguf"]);
    let server = Server::start_with(&rig.variables(&[]), OsStr::new("org/quants:Q4_1"), &[]).await;
    let models = server.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "org/quants:Q4_1");
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_with_in_the_same_run_and_in_the_next() {
    let rig = Rig::new().await;
    let repository = large_repository();
    rig.hub.put("org/large", repository.clone());
    let named = || "big.gguf".to_owned();
    let starts = |rig: &Rig| rig.hub.take_requests().iter().map(|request| request.from).collect::<Vec<_>>();

    // The first attempt breaks in its second piece; the second one gets no further than the third.
    rig.hub.plant(Fault::BreakBefore { file: named(), byte: PIECE_BYTES + 1_000_000 });
    rig.hub.plant(Fault::Status { file: named(), byte: 2 * PIECE_BYTES, status: 500 });
    rig.hub.plant(Fault::Status { file: named(), byte: 2 * PIECE_BYTES, status: 500 });
    rig.refused(&["org/large"], &[], &["answered 500 for `org/large/big.gguf`", "try again later"]).await;
    let first_run = starts(&rig);
    assert!(first_run.starts_with(&[0, PIECE_BYTES]), "{first_run:?}");
    assert!(!first_run[1..].contains(&0), "the first piece came twice: {first_run:?}");
    assert!(!rig.repository("models--org--large/refs").join("main").exists());

    *rig.hub.faults() = Vec::new();
    let path = rig.fetched(&["org/large"]).await;
    assert_eq!(starts(&rig), [2 * PIECE_BYTES]);
    assert!(std::fs::read(path).expect("it is there") == repository.files["big.gguf"], "the contents differ");
}

#[tokio::test]
async fn a_damaged_file_is_removed_and_fetched_anew() {
    let rig = Rig::new().await;
    rig.hub.put("org/tied", HubRepository::of_folder(&tiny_model("tied"), 'a'));
    rig.hub.plant(Fault::Flip { file: "model.safetensors".to_owned(), byte: 300_000 });
    rig.refused(
        &["org/tied"],
        &[],
        &["`model.safetensors` has sha256", "the hub names sha256", "run it again"],
    )
    .await;
    let folder = rig.repository("models--org--tied");
    assert!(!folder.join("snapshots").join("a".repeat(40)).join("model.safetensors").exists());
    let offline = [("HF_HUB_OFFLINE", "1")];
    rig.refused(&["org/tied"], &offline, &["has no snapshot of it at revision `main`"]).await;
    let path = rig.fetched(&["org/tied"]).await;
    let fetched = std::fs::read(path.join("model.safetensors")).expect("it is there");
    assert!(fetched == std::fs::read(tiny_model("tied/model.safetensors")).expect("it is there"));
}

#[tokio::test]
async fn offline_takes_the_cached_snapshot_only() {
    let rig = Rig::new().await;
    rig.hub.put("org/sharded", HubRepository::of_folder(&tiny_model("sharded"), 'a'));
    let offline = [("HF_HUB_OFFLINE", "1")];
    let says = ["no path on this machine", "revision `main`", "HF_HUB_OFFLINE", "spillway pull org/sharded"];
    rig.refused(&["org/sharded"], &offline, &says).await;
    let path = rig.fetched(&["org/sharded"]).await;
    rig.hub.take_requests();
    let there = format!("{} is there and whole", path.display());
    assert_eq!(rig.pull(&["org/sharded"], &offline).await.stdout.trim(), there);
    rig.refused(&["org/sharded@dev"], &offline, &["revision `dev`"]).await;

    // Without a network the server takes what is there, and says so; to pull is to want what the hub has.
    let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:9")];
    rig.refused(&["org/sharded"], &nowhere, &["http://127.0.0.1:9 cannot be reached", "HF_ENDPOINT"]).await;
    let server = Server::start_with(&rig.variables(&nowhere), OsStr::new("org/sharded"), &[]).await;
    assert!(server.log().iter().any(|line| line.contains("using the cached snapshot")));

    std::fs::remove_file(path.join("model-00002-of-00002.safetensors")).expect("it was there");
    rig.refused(&["org/sharded"], &offline, &["names `model-00002-of-00002.safetensors`"]).await;
    assert_eq!(rig.hub.take_requests(), []);
}

#[tokio::test]
async fn what_the_hub_refuses_is_told_with_the_way_out() {
    let rig = Rig::new().await;
    let tied = || HubRepository::of_folder(&tiny_model("tied"), 'a');
    rig.hub.put("org/open", tied());
    rig.hub
        .put("org/gated", HubRepository { access: RepositoryAccess::Gated("hf_good".to_owned()), ..tied() });
    rig.hub.put(
        "org/private",
        HubRepository { access: RepositoryAccess::Private("hf_good".to_owned()), ..tied() },
    );
    let bad = [("HF_TOKEN", "hf_bad")];
    let terms = format!("accept its terms at {}/org/gated", rig.hub.address());
    rig.refused(&["org/gated"], &[], &["is gated", &terms, "/settings/tokens and set HF_TOKEN"]).await;
    rig.refused(&["org/gated"], &bad, &["is gated", "wait until its author grants access"]).await;
    rig.refused(&["org/private"], &[], &["has no repository `org/private`", "set HF_TOKEN"]).await;
    rig.refused(&["org/nothing"], &bad, &["`org/nothing` is no path on this machine", "check its name"])
        .await;
    rig.refused(&["org/open", "--revision", "v9"], &[], &["has no revision `v9`"]).await;
    for id in ["org/gated", "org/private"] {
        let ran = rig.pull(&[id], &[("HF_TOKEN", "hf_good")]).await;
        assert!(ran.is_success, "{}", ran.stderr);
        assert!(!ran.stderr.contains("hf_good"), "{}", ran.stderr);
    }
    // A login leaves the token in a file.
    std::fs::write(rig.home.path().join("token"), "hf_good\n").expect("room on the disk");
    let cache = rig.home.path().join("elsewhere");
    let ran = rig.pull(&["org/private"], &[("HF_HUB_CACHE", cache.to_str().expect("UTF-8"))]).await;
    assert!(ran.is_success, "{}", ran.stderr);
    assert!(cache.join("models--org--private").is_dir());
}
