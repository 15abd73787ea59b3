//! A server on a machine with an NVIDIA driver: the stand-in for it, whose launches run the kernels on the CPU.
//!
//! What is wrong with a driver or its GPU is set through the stand-in; where there is no C++ compiler to build it, these
//! tests say so and pass.

use spillway_emulated_driver::{EmulatedDriver, Setting};
use spillway_tests::{Server, binary, run_with, tiny_model};

use super::requests::{COMPLETIONS, greedy, with};

/// Memory of the stand-in's GPU: what the driver keeps, and enough for a tiny model.
const MEMORY: Setting = Setting::MemoryBytes(1 << 30);
/// Exit code where the device that is asked for cannot be used.
const NO_DEVICE: i32 = 3;
/// Exit code of a process whose GPU broke.
const DEVICE_BROKE: i32 = 5;

/// The variables by which a process finds the stand-in.
fn surroundings(driver: &EmulatedDriver, setting: Setting) -> Vec<(String, String)> {
    let command = driver.command(binary(), &[MEMORY, setting]);
    let text = |value: &std::ffi::OsStr| value.to_str().expect("test paths are UTF-8").to_owned();
    command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect()
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn serve(variables: &[(String, String)], flags: &[&str]) -> Server {
    Server::start_with(&borrowed(variables), tiny_model("tied").as_os_str(), flags).await
}

fn says(server: &Server, text: &str) -> bool {
    server.log().iter().any(|line| line.contains(text))
}

#[tokio::test]
async fn auto_says_why_it_does_not_take_a_gpu_and_cuda_ends_with_the_reason() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let cases = [
        (Setting::DriverVersion(12_090), "supports CUDA 12.9, at least 13.0"),
        (Setting::NumDevices(0), "shows no device"),
        (Setting::ComputeCapability(75), "has compute capability 7.5, at least 8.0"),
    ];
    for (setting, reason) in cases {
        let variables = surroundings(&driver, setting);
        let server = serve(&variables, &[]).await;
        assert!(says(&server, "computing on the CPU") && says(&server, reason), "{reason}");
        assert_eq!(server.post(COMPLETIONS, &greedy("The stone", 3)).await.status, 200);

        for command in ["serve", "check"] {
            let arguments = [command, "--model", "no/such/model", "--device", "cuda"];
            let output = run_with(&borrowed(&variables), &arguments).await;
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(NO_DEVICE), "{command}: {message}");
            assert!(message.contains(reason) && message.lines().count() == 1, "{command}: {message}");
        }
    }
}

#[tokio::test]
async fn auto_takes_a_gpu_that_will_do() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let server = serve(&surroundings(&driver, Setting::NumDevices(1)), &["--max-num-seqs", "4"]).await;
    assert!(says(&server, "computing on cuda:0"), "it says which");
    let answer = server.post(COMPLETIONS, &greedy("The stone", 4)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Ampere and Ada have less shared memory than Hopper: kernels are chosen that find room.
#[tokio::test]
async fn smaller_gpus_serve_too() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    for capability in [80, 89] {
        let variables = surroundings(&driver, Setting::ComputeCapability(capability));
        let server = serve(&variables, &["--device", "cuda", "--max-num-seqs", "20"]).await;
        let answer = server.post(COMPLETIONS, &greedy("The stone", 4)).await;
        assert_eq!(answer.status, 200, "{capability}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_kernel_that_faults_ends_the_request_with_an_error_and_then_the_process() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let variables = surroundings(&driver, Setting::FailLaunch(5));
    let mut server =
        serve(&variables, &["--device", "cuda", "--max-num-seqs", "4", "--cuda-graphs=false"]).await;
    let body = with(greedy("The stone", 4), serde_json::json!({"stream": true}));
    let stream = server.open(COMPLETIONS, &body).await.collect().await.expect("a whole stream");
    assert_eq!(stream.error.expect("a kernel faulted")["code"], "backend_failed");
    assert_eq!(server.exited().await.code(), Some(DEVICE_BROKE));
    assert!(says(&server, "the device broke"), "the log says why");
}

#[tokio::test]
async fn a_kv_cache_of_eight_bits_serves_and_is_told() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let variables = surroundings(&driver, Setting::NumDevices(1));
    // The name of the format is one of vLLM's, too.
    let server = serve(&variables, &["--device", "cuda", "--kv-cache-dtype", "fp8_e4m3"]).await;
    let answer = server.post(COMPLETIONS, &greedy("the spillway", 4)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let info = server.metrics().await.value("vllm:cache_config_info", "cache_dtype=\"fp8_e4m3\"");
    assert_eq!(info, Some(1.0));
}

#[tokio::test]
async fn a_model_on_the_gpu_agrees_with_the_cpu() {
    let Some(driver) = EmulatedDriver::build().expect("the stand-in compiles") else { return };
    let variables = surroundings(&driver, Setting::NumDevices(1));
    let model = tiny_model("tied");
    let model = model.to_str().expect("test paths are UTF-8");
    let arguments = ["gpu-selftest", "--no-test", "--no-bench", "--model", model];
    let output = run_with(&borrowed(&variables), &arguments).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for reference in ["with the CPU in f32: ", "with candle on the CPU in f32: "] {
        let line = told.lines().find_map(|line| line.strip_prefix(reference));
        assert!(line.is_some_and(|line| line.ends_with(": ok")), "{reference}: {told}");
    }
}
