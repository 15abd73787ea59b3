//! The tables tell every key that is read, and no other.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::*;
use crate::config::raw::{
    RawBackend, RawBreaker, RawConfidence, RawContentRule, RawKey, RawPrice, RawPrices, RawRoute, RawRouter,
    RawShadow, RawSplitPart, RawStore, RawStrong,
};

/// The keys of a table, which its reader tells of when it meets one that it does not know.
fn read_keys<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = match toml::from_str::<T>("no_such_key = 1") {
        Ok(_) => panic!("it knows no such key"),
        Err(error) => error.message().to_owned(),
    };
    let (_, expected) = error.split_once("expected ").expect("the message tells the keys");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_that_is_read_is_explained_and_no_other() {
    let told = |titles: &[&str]| -> BTreeSet<String> {
        let sections = sections().into_iter().filter(|section| titles.contains(&section.title));
        sections.flat_map(|section| section.keys).map(|key| key.name.to_owned()).collect()
    };
    let backends = ["`[[backends]]`", "`[[backends]]` of type `bedrock`", "`[[backends]]` of type `openai`"];
    let all: [(&[&str], BTreeSet<String>); 13] = [
        (&backends, read_keys::<RawBackend>()),
        (&["`price` of a backend"], read_keys::<RawPrice>()),
        (&["`[[routes]]`"], read_keys::<RawRoute>()),
        (&["`strong` of a route"], read_keys::<RawStrong>()),
        (&["`confidence` of `strong`"], read_keys::<RawConfidence>()),
        (&["a part of `split` of a route"], read_keys::<RawSplitPart>()),
        (&["`shadow` of a route"], read_keys::<RawShadow>()),
        (&["`[router]`"], read_keys::<RawRouter>()),
        (&["`breaker` of `[router]`"], read_keys::<RawBreaker>()),
        (&["`[[content_rules]]`"], read_keys::<RawContentRule>()),
        (&["`[[keys]]`"], read_keys::<RawKey>()),
        (&["`[store]`"], read_keys::<RawStore>()),
        (&["`[prices]`"], read_keys::<RawPrices>()),
    ];
    for (titles, read) in &all {
        assert_eq!(told(titles), *read, "{titles:?}");
    }
    let titles: usize = all.iter().map(|(titles, _)| titles.len()).sum();
    assert_eq!(titles, sections().len(), "every section was looked at");
}
