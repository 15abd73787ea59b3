//! Command lines and files, and what comes of them.

use std::time::Duration;

use spillway_kernels::{CpuOptions, Isa, IsaChoice, Quantisation, WeightType};
use spillway_models::{CandleDevice, DtypePolicy, ExecutorKind, KvCacheType, WeightsKind};

use super::*;
use crate::config::{
    Address, ApiKeys, BatchInvariance, CudaGraphs, DeviceChoice, DeviceConfig, HttpConfig, HubFiles,
    KernelOverlap, LogConfig, LogFormat, ModelChoice, ModelConfig, SchedulerSettings, SecurityConfig,
    TlsConfig,
};

fn environment() -> Environment {
    Environment { home: Some("/home/ann".into()), ..Environment::default() }
}

fn run(line: &str) -> Result<Command, ConfigError> {
    let matches = Cli::command().try_get_matches_from(line.split_whitespace()).expect("clap takes it");
    resolve(&matches, &environment())
}

/// A config with an engine, in its sections.
#[derive(Debug)]
struct Served {
    model: ModelConfig,
    device: DeviceConfig,
    scheduler: SchedulerSettings,
    http: HttpConfig,
    security: SecurityConfig,
    log: LogConfig,
}

impl From<ServeConfig> for Served {
    fn from(config: ServeConfig) -> Self {
        let ServeConfig { engine, http, security, log, .. } = config;
        let engine = engine.expect("a model is named");
        Self { model: engine.model, device: engine.device, scheduler: engine.scheduler, http, security, log }
    }
}

fn serve(line: &str) -> Served {
    match run(line) {
        Ok(Command::Serve { config, .. }) => (*config).into(),
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> String {
    run(line).expect_err("it cannot be followed").to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = serve("spillway serve --model demo");
    assert_eq!(config.model.choice, ModelChoice::Demo { cache: PathBuf::from("/home/ann/.cache/spillway") });
    assert_eq!((config.http.public.host.as_str(), config.http.public.port), ("127.0.0.1", 8000));
    assert_eq!(config.http.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.http.max_body.to_string(), "32MiB");
    assert_eq!((config.scheduler.block_size.tokens(), config.scheduler.max_waiting.get()), (16, 1024));
    assert_eq!((config.scheduler.prefix_caching, config.scheduler.kv_cache_memory), (true, None));
    assert_eq!(config.model.weights, WeightsKind::File);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_flag_is_followed() {
    let config = serve(
        "spillway serve --model /models/tiny.gguf --served-model-name tiny --device cpu --dtype f32 \
         --executor candle --cpu-isa avx2 --threads 3 --host 0.0.0.0 --port 0 --block-size 32 \
         --kv-cache-memory 512MiB --max-num-batched-tokens 64 --max-num-seqs 8 --max-model-len 1000 \
         --max-waiting 5 --max-in-flight-steps 1 --enable-prefix-caching=false --priority-ageing 300ms \
         --step-timeout 5s --quantization int4 --weights dummy --seed 9 --dummy-weight-type q8_0 --drain-timeout 2m \
         --max-body 1KiB --log-format json --log-filter debug --watchdog-timeout 6s --max-queue-ttft 2s \
         --admin-host 10.0.0.1 --admin-port 0 --request-timeout 9m --header-timeout 7s --client-timeout 8s \
         --max-connections 11 --max-concurrent-requests 12 --api-key sk-1 --api-key sk-2 --tls-cert /c.pem \
         --tls-key /k.pem --allowed-origin https://chat.example.com --gpu-memory-utilization 0.75 \
         --batch-invariant --kernel-overlap=false --cuda-graphs=false --kv-cache-dtype fp8",
    );
    let scheduler = config.scheduler;
    assert_eq!(config.model.choice, ModelChoice::Path(PathBuf::from("/models/tiny.gguf")));
    assert_eq!(config.model.served_name.as_str(), "tiny");
    let executor = ExecutorKind::Candle(CandleDevice::Cpu);
    assert_eq!((config.model.dtype, config.model.executor), (DtypePolicy::F32, executor));
    assert_eq!(config.model.quantisation, Some(Quantisation::Int4));
    assert_eq!(config.model.weights, WeightsKind::Dummy { seed: 9, weight_type: WeightType::Q8_0 });
    let cpu = CpuOptions { isa: IsaChoice::Exactly(Isa::Avx2), num_threads: std::num::NonZeroUsize::new(3) };
    assert_eq!((config.device.choice, config.device.cpu), (DeviceChoice::Cpu, cpu));
    assert_eq!(scheduler.kv_cache, KvCacheType::Fp8);
    let gpu = config.device.gpu;
    assert_eq!((gpu.invariance, gpu.overlap), (BatchInvariance::Kept, KernelOverlap::Off));
    assert_eq!(gpu.graphs, CudaGraphs::Off);
    assert!((gpu.memory_utilization - 0.75).abs() < 1e-12);
    assert_eq!((scheduler.block_size.tokens(), scheduler.max_num_batched_tokens.get()), (32, 64));
    assert_eq!((scheduler.max_num_seqs.get(), scheduler.max_waiting.get()), (8, 5));
    assert_eq!(scheduler.max_model_len.map(u32::from), Some(1000));
    assert_eq!(scheduler.kv_cache_memory.map(super::super::ByteSize::bytes), Some(512 << 20));
    assert_eq!((scheduler.max_in_flight_steps.get(), scheduler.prefix_caching), (1, false));
    assert_eq!(scheduler.ageing_interval, Duration::from_millis(300));
    assert_eq!(scheduler.step_timeout, Duration::from_secs(5));
    assert_eq!((config.http.public.host.as_str(), config.http.public.port), ("0.0.0.0", 0));
    assert_eq!(config.http.drain_timeout, Duration::from_mins(2));
    assert_eq!((config.http.max_body.bytes(), config.log.format), (1024, LogFormat::Json));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(scheduler.watchdog_timeout, Duration::from_secs(6));
    assert_eq!(scheduler.max_queue_ttft, Some(Duration::from_secs(2)));
    let http = config.http;
    assert_eq!(http.admin, Some(Address { host: "10.0.0.1".to_owned(), port: 0 }));
    assert_eq!(http.request_timeout, Some(Duration::from_mins(9)));
    assert_eq!((http.header_timeout, http.client_timeout), (Duration::from_secs(7), Duration::from_secs(8)));
    assert_eq!((http.max_connections.get(), http.max_concurrent_requests.get()), (11, 12));
    assert_eq!(config.security.api_keys.map(|keys| keys.len()), Some(2));
    assert_eq!(config.security.tls, Some(TlsConfig { cert: "/c.pem".into(), key: "/k.pem".into() }));
    assert_eq!(config.security.allowed_origins, ["https://chat.example.com"]);
}

#[test]
fn keys_of_flags_file_and_environment_count_together() {
    let keys = file("# of the team\nsk-1\n\n  sk-2  \n");
    let line = format!("spillway serve --model demo --api-key sk-3 --api-key-file {}", keys.path().display());
    let matches = Cli::command().try_get_matches_from(line.split_whitespace()).expect("clap takes it");
    let environment = Environment { api_key: Some("sk-4".to_owned().into()), ..environment() };
    let Ok(Command::Serve { config, .. }) = resolve(&matches, &environment) else {
        panic!("it can be followed")
    };
    let keys = config.security.api_keys.clone().expect("there are four");
    assert_eq!(keys.len(), 4);
    assert!((1..=4).all(|number| keys.find(format!("sk-{number}").as_bytes()).is_some()));
    assert!(keys.find(b"# of the team").is_none() && keys.find(b"").is_none());
    assert!(!format!("{config:?}").contains("sk-"), "a key is never shown");
}

#[test]
fn a_check_shows_the_config_without_its_keys() {
    let file = file(
        "[model]\nmodel = \"demo\"\n[security]\napi_key = [\"sk-live-1\", \"sk-live-2\"]\n[server]\nport = 9\n",
    );
    for json in ["", " --json"] {
        let line = format!("spillway check{json} --config {}", file.path().display());
        let Ok(Command::Check { config, effective, .. }) = run(&line) else { panic!("it can be followed") };
        assert_eq!(config.security.api_keys.map(|keys| keys.len()), Some(2));
        assert!(effective.contains("port = 9") && !effective.contains("sk-live"), "{effective}");
        let again = self::file(&effective);
        let message = refused(&format!("spillway serve --config {}", again.path().display()));
        assert!(message.starts_with("API key 1 must be"), "what stands for a key is none: {message}");
    }
}

#[test]
fn keys_in_the_config_file_may_be_one_or_several() {
    for (text, number) in [("\"sk-1\"", 1), ("[\"sk-1\", \"sk-2\"]", 2), ("[]", 0)] {
        let file = file(&format!("[model]\nmodel = \"demo\"\n[security]\napi_key = {text}\n"));
        let config = serve(&format!("spillway serve --config {}", file.path().display()));
        assert_eq!(config.security.api_keys.map_or(0, |keys| keys.len()), number);
    }
}

#[test]
fn a_key_that_could_leave_the_server_open_is_refused() {
    let without = file("# none yet\n\n");
    for (flags, expected) in [
        (format!("--api-key-file {}", without.path().display()), "has no key"),
        ("--api-key-file /no/such/keys".to_owned(), "--api-key-file /no/such/keys could not be read"),
        ("--api-key=".to_owned(), "API key 1 must be visible ASCII"),
    ] {
        let message = refused(&format!("spillway serve --model demo {flags}"));
        assert!(message.contains(expected), "{message}");
    }
    let matches = Cli::command().try_get_matches_from(["spillway", "serve", "--model", "demo"]);
    let environment = Environment { api_key: Some(String::new().into()), ..environment() };
    let error = resolve(&matches.expect("clap takes it"), &environment).expect_err("it is empty");
    assert!(error.to_string().starts_with("API key 1 "), "{error}");
}

#[test]
fn the_file_replaces_defaults_and_flags_replace_the_file() {
    let file =
        file("[model]\nmodel = \"demo\"\n[server]\nport = 9000\nhost = \"0.0.0.0\"\nmax_body = \"2MiB\"\n");
    let line = format!("spillway serve --config {} --port 9001", file.path().display());
    let config = serve(&line);
    assert_eq!((config.http.public.host.as_str(), config.http.public.port), ("0.0.0.0", 9001));
    assert_eq!(config.http.max_body.to_string(), "2MiB");
    assert_eq!(config.scheduler.max_num_seqs.get(), 256);
}

#[test]
fn a_flag_that_repeats_the_default_still_replaces_the_file() {
    let file = file("[model]\nmodel = \"demo\"\n[server]\nport = 9000\n");
    let config = serve(&format!("spillway serve --port 8000 --config {}", file.path().display()));
    assert_eq!(config.http.public.port, 8000);
}

#[test]
fn unknown_keys_and_wrong_values_are_named_with_their_line() {
    for (text, expected) in [
        ("[server]\nport = 1\nprot = 2\n", "line 3: unknown field `prot`"),
        ("[sever]\n", "line 1: unknown field `sever`"),
        ("[server]\ndrain_timeout = \"30\"\n", "duration is `30`"),
        ("[scheduler]\nmax_num_seqs = 0\n", "nonzero"),
        ("[server]\nport = \n", "line 2: "),
    ] {
        let file = file(text);
        let message = refused(&format!("spillway serve --model demo --config {}", file.path().display()));
        assert!(message.contains(expected) && message.contains("line "), "{message}");
    }
}

#[test]
fn a_key_in_a_line_that_cannot_be_read_is_not_shown() {
    for line in [
        "api-key = \"sk-live\"",
        "api_key = sk-live",
        "api_key = [\"sk-live\"",
        "api_key = {a = \"sk-live\"}",
    ] {
        let file = file(&format!("[security]\n{line}\n"));
        let error = run(&format!("spillway serve --model demo --config {}", file.path().display()));
        let shown = format!("{:#}", anyhow::Error::from(error.expect_err("it cannot be followed")));
        assert!(shown.contains("line ") && !shown.contains("sk-live"), "{shown}");
    }
}

#[test]
fn values_that_cannot_be_followed_are_named_with_their_range() {
    for (flags, expected) in [
        ("", "no model is named"),
        ("--model demo --block-size 24", "--block-size is 24, must be a power of two from 1 to 256"),
        ("--model demo --max-num-batched-tokens 4", "must be at least --max-num-seqs, which is 256"),
        ("--model demo --max-in-flight-steps 3", "--max-in-flight-steps is 3, must be 1 or 2"),
        ("--model demo --step-timeout 0s", "--step-timeout is 0s, must be longer than 0s"),
        ("--model demo --watchdog-timeout 59s", "--watchdog-timeout is 59s, must be at least --step-timeout"),
        ("--model demo --max-queue-ttft 0s", "--max-queue-ttft is 0s, must be longer than 0s"),
        ("--model demo --request-timeout 0s", "--request-timeout is 0s, must be longer than 0s"),
        ("--model demo --header-timeout 0s", "--header-timeout is 0s, must be longer than 0s"),
        ("--model demo --client-timeout 0s", "--client-timeout is 0s, must be longer than 0s"),
        ("--model demo --tls-cert c.pem", "--tls-cert is given without --tls-key"),
        ("--model demo --tls-key k.pem", "--tls-key is given without --tls-cert"),
        (
            "--model demo --allowed-origin example.com",
            "--allowed-origin is example.com, must be * or a scheme",
        ),
        ("--model demo --max-body 0B", "--max-body is 0B, must be more than 0B"),
        ("--model demo --device tpu", "--device is tpu, must be auto, cpu or cuda[:N]"),
        ("--config /no/such/file.toml", "config file /no/such/file.toml could not be read"),
    ] {
        let message = refused(&format!("spillway serve {flags}"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_model_is_named_after_its_file_or_folder() {
    for (model, name) in [("demo", "demo"), ("/m/tiny.Q4_1.gguf", "tiny.Q4_1"), ("m/Llama-3/", "Llama-3")] {
        assert_eq!(serve(&format!("spillway serve --model {model}")).model.served_name.as_str(), name);
    }
}

#[test]
fn pull_and_demo_need_a_cache_folder() {
    assert!(matches!(run("spillway pull demo"), Ok(Command::Pull(ModelChoice::Demo { .. }))));
    for line in [["spillway", "pull", "demo"].as_slice(), &["spillway", "serve", "--model", "demo"]] {
        let matches = Cli::command().try_get_matches_from(line).expect("clap takes it");
        let error = resolve(&matches, &Environment::default()).expect_err("there is no cache folder");
        assert!(error.to_string().contains("set SPILLWAY_CACHE"), "{error}");
    }
}

#[test]
fn every_flag_has_a_key_and_a_comment() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("it is there");
    let table = toml::Table::try_from(RawConfig::default()).expect("it is TOML");
    let optional = [
        "model",
        "revision",
        "threads",
        "kv_cache_memory",
        "max_model_len",
        "max_queue_ttft",
        "admin_port",
        "request_timeout",
        "api_key_file",
        "tls_cert",
        "tls_key",
    ];
    for arg in serve.get_arguments().filter(|arg| !["config", "help"].contains(&arg.get_id().as_str())) {
        let id = arg.get_id().as_str();
        let is_key = table.values().any(|section| section.get(id).is_some());
        assert!(is_key || optional.contains(&id), "{id} has no key");
        assert!(arg.get_help().is_some(), "{id} has no comment");
        assert_eq!(arg.get_long(), Some(id.replace('_', "-").as_str()));
    }
}

#[test]
fn an_id_of_a_hub_keeps_its_revision_wherever_it_stands() {
    for line in
        ["Qwen/Qwen2.5-0.5B@v2", "Qwen/Qwen2.5-0.5B --revision v2", "Qwen/Qwen2.5-0.5B@v2 --revision v2"]
    {
        let config = serve(&format!("spillway serve --model {line}")).model;
        let ModelChoice::Hub(model) = &config.choice else { panic!("{line}: {:?}", config.choice) };
        assert_eq!((model.id.repository.as_str(), model.revision.as_str()), ("Qwen/Qwen2.5-0.5B", "v2"));
        assert_eq!((&model.id.files, config.served_name.as_str()), (&HubFiles::Usual, "Qwen/Qwen2.5-0.5B"));
    }
    let config = serve("spillway serve --model a/b:Q8_0").model;
    assert_eq!(config.served_name.as_str(), "a/b:Q8_0");
    assert!(matches!(config.choice, ModelChoice::Hub(model) if model.revision == "main"));
    for (line, expected) in [
        ("serve --model a/b@x --revision y", "the model's id says revision `x`, --revision says `y`"),
        ("serve --model demo --revision y", "--revision is `y`, but `demo` is no repository"),
        ("pull ./a/b", "`./a/b` is a path, there is nothing to fetch"),
    ] {
        let message = refused(&format!("spillway {line}"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_path_that_exists_wins_over_an_id() {
    // The test runs in the package's folder, where this path exists.
    let config = serve("spillway serve --model src/config");
    assert_eq!(config.model.choice, ModelChoice::Path(PathBuf::from("src/config")));
    assert!(matches!(serve("spillway serve --model src/nothing").model.choice, ModelChoice::Hub(_)));
}

#[test]
fn a_model_may_have_several_names() {
    let names = |config: Served| {
        let model = config.model;
        std::iter::once(model.served_name)
            .chain(model.aliases)
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    let lines = ["--served-model-name a b/c", "--served-model-name a --served-model-name b/c"];
    for line in lines {
        assert_eq!(names(serve(&format!("spillway serve --model demo {line}"))), ["a", "b/c"]);
    }
    for (text, expected) in [("\"a\"", vec!["a"]), ("[\"a\", \"b\"]", vec!["a", "b"])] {
        let file = file(&format!("[model]\nmodel = \"demo\"\nserved_model_name = {text}\n"));
        let line = format!("spillway serve --config {}", file.path().display());
        assert_eq!(names(serve(&line)), expected);
        assert_eq!(names(serve(&format!("{line} --served-model-name z"))), ["z"]);
    }
    let message = refused("spillway serve --model demo --served-model-name a a");
    assert_eq!(message, "--served-model-name is a, must be named once");
}

#[test]
fn an_engine_to_be_measured_is_configured_like_one_to_be_served() {
    let file = file(
        "[model]\nmodel = \"demo\"\n[scheduler]\nmax_num_seqs = 4\nblock_size = 8\n[server]\nport = 9\n",
    );
    let flags = format!("--config {} --max-num-seqs 6 --dtype f32", file.path().display());
    for (line, is_latency) in
        [("latency --batch-size 1,4 --input-len 8", true), ("throughput --num-requests 3", false)]
    {
        let config = match run(&format!("spillway bench {line} {flags}")) {
            Ok(Command::Bench(BenchCommand::Latency { args, config })) if is_latency => {
                assert_eq!((args.batch_size, args.input_len), (vec![1, 4], vec![8]));
                config
            }
            Ok(Command::Bench(BenchCommand::Throughput { args, config })) if !is_latency => {
                assert_eq!(args.num_requests.get(), 3);
                config
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((config.scheduler.max_num_seqs.get(), config.scheduler.block_size.tokens()), (6, 8));
        assert_eq!(config.model.dtype, DtypePolicy::F32);
    }
    let message = refused("spillway bench latency");
    assert!(message.contains("no model is named"), "{message}");
}

#[test]
fn a_self_test_tries_all_unless_told_otherwise() {
    let selftest = |line: &str| match run(line) {
        Ok(Command::GpuSelftest(options)) => options,
        other => panic!("{other:?}"),
    };
    let all = selftest("spillway gpu-selftest");
    assert_eq!((all.ordinal, all.test, all.bench, all.verbose, all.model), (0, true, true, false, None));
    let some =
        selftest("spillway gpu-selftest --ordinal 1 --no-test --no-bench --verbose --seed 3 --model /m.gguf");
    assert_eq!((some.ordinal, some.test, some.bench, some.verbose, some.seed), (1, false, false, true, 3));
    assert_eq!(some.model, Some(PathBuf::from("/m.gguf")));
}

#[test]
fn the_example_of_routes_can_be_followed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/deploy/spillway-routes.toml");
    let Ok(Command::Serve { config, source }) = run(&format!("spillway serve --config {path}")) else {
        panic!("it can be followed")
    };
    assert_eq!(config.routing.warnings, []);
    let names = |names: Vec<String>| names.join(" ");
    let backends = config.routing.backends.iter().map(|backend| backend.id.to_string()).collect();
    let routes = config.routing.routes.iter().map(|route| route.id.to_string()).collect();
    assert_eq!((names(backends), names(routes)), ("rack haiku sonnet local".into(), "chat inside".into()));
    assert!(config.routing.content_rules.label(["DE89370400440532013000"]).is_some());
    assert_eq!(config.security.api_keys.as_ref().map(ApiKeys::len), Some(2));
    assert!(source.expect("there is a file").read().is_ok(), "it can be read anew");
}

#[test]
fn a_training_and_an_evaluation_take_logs_and_their_flags() {
    let Ok(Command::Route(RouteCommand::Train(train))) =
        run("spillway route train --out gain.bin a.jsonl b.jsonl")
    else {
        panic!("a training was asked for");
    };
    let logs = vec!["a.jsonl".into(), "b.jsonl".into()];
    assert_eq!(train, RouteTrain { out: "gain.bin".into(), seed: 1, repeats: 1, logs });
    let Ok(Command::Route(RouteCommand::Train(train))) =
        run("spillway route train --out gain.bin --seed 9 --repeats 4 a.jsonl")
    else {
        panic!("a training was asked for");
    };
    assert_eq!((train.seed, train.repeats), (9, 4));
    let Ok(Command::Route(RouteCommand::Eval(eval))) =
        run("spillway route eval --json --time --model gain.bin a.jsonl")
    else {
        panic!("an evaluation was asked for");
    };
    let logs = vec!["a.jsonl".into()];
    assert_eq!(eval, RouteEval { json: true, time: true, model: Some("gain.bin".into()), logs });
    for line in [
        "route train a.jsonl",
        "route train --out gain.bin",
        "route train --out b --repeats 0 a",
        "route eval",
    ] {
        let words = ["spillway"].into_iter().chain(line.split_whitespace());
        assert!(Cli::command().try_get_matches_from(words).is_err(), "{line}");
    }
}

#[test]
fn the_config_of_the_service_can_be_followed() {
    let keys = file("sk-1\n");
    let text = include_str!("../../../../scripts/deploy/spillway.toml");
    let text = text.replace("/etc/spillway/keys", &keys.path().display().to_string());
    let config = file(&text);
    let config = serve(&format!("spillway serve --config {}", config.path().display()));
    assert_eq!(config.device.choice, DeviceChoice::Cuda { ordinal: 0 });
    assert_eq!(config.security.api_keys.map(|keys| keys.len()), Some(1));
    // The unit must not kill what still drains.
    let unit = include_str!("../../../../scripts/deploy/spillway.service");
    assert!(unit.contains("TimeoutStopSec=45s") && config.http.drain_timeout <= Duration::from_secs(30));
}
