//! A process that is killed in the middle: every call that the cloud saw has its row, and open ones stay charged.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use spillway_store::CallState;
use spillway_tests::within;

use super::world::{CHAT, World, chat};

#[tokio::test]
async fn every_call_that_was_made_before_a_kill_is_in_the_ledger() {
    let world = World::new().await;
    let route = "[[routes]]\nname = \"mixed\"\nmodels = [\"quick\"]\ndefault_privacy = \"standard\"\ntargets = [\"plain\"]\n\
                 [[routes]]\nname = \"still\"\nmodels = [\"still\"]\ndefault_privacy = \"standard\"\ntargets = [\"silent-after\"]\n";
    world.configure(&format!("{}{}{route}", world.bedrock("plain", ""), world.bedrock("silent-after", "")));
    let mut server = world.start(&[]).await;
    let client = server.client();
    let send = |number: usize| {
        let model = if number.is_multiple_of(2) { "quick" } else { "still" };
        let mut body = chat(model, &format!("this is call-{number}."));
        body["stream"] = json!(true);
        let request = client.request(reqwest::Method::POST, CHAT).json(&body);
        let request = request.header("x-request-id", format!("call-{number}"));
        async move { request.send().await }
    };
    // Half of them are answered whole, half hold still after their first words.
    let streams = join_all((0..40).map(send)).await;
    let has_begun = |stream: &reqwest::Result<reqwest::Response>| {
        stream.as_ref().is_ok_and(|response| response.status().is_success())
    };
    assert!(streams.iter().all(has_begun), "{streams:?}");
    within("the held calls", world.cloud.calls_held(20)).await;
    // More are on their way when it is killed.
    let on_their_way = join_all((40..80).map(send));
    let killed = async {
        world.cloud.calls_held(25).await;
        server.signal("KILL");
        server.exited().await
    };
    futures::join!(on_their_way, killed);
    world.reopen_ledger();
    let rows = world.rows();
    let written: BTreeSet<&str> = rows.iter().map(|row| &*row.request).collect();
    let requests = world.cloud.requests();
    assert!(requests.len() >= 45, "{}", requests.len());
    for request in &requests {
        let body = String::from_utf8_lossy(&request.body);
        let name = body.split("this is ").nth(1).and_then(|rest| rest.split('.').next()).expect("its name");
        assert!(written.contains(name), "{name} was called and has no row");
    }
    let unsettled: Vec<_> = rows.iter().filter(|row| row.state == CallState::Unsettled).collect();
    assert!(unsettled.len() >= 20, "{}", unsettled.len());
    for row in &rows {
        assert_ne!(row.state, CallState::Open);
        if row.state == CallState::Unsettled {
            assert_eq!(row.charged, row.reserved, "it stays charged at its reservation");
            assert!(row.reserved.nanos() > 0);
        }
    }
}
