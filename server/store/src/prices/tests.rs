//! The shipped table, files beside it, and how a model is found.

use spillway_types::Usage;

use super::*;

fn usd(text: &str) -> Usd {
    Usd::parse(text).expect("dollars")
}

/// Input, output, cache read, cache write of five minutes.
type FourPrices<'a> = (&'a str, &'a str, Option<&'a str>, Option<&'a str>);

fn check(table: &PriceTable, model: &str, (input, output, read, write): FourPrices<'_>) {
    let price = table.find(&PriceKey::new(model)).unwrap_or_else(|| panic!("no price of {model}"));
    let tokens = price.tokens(CacheTtl::FiveMinutes);
    let expected = TokenPrices {
        input: usd(input),
        output: usd(output),
        cache_read: read.map(usd),
        cache_write: write.map(usd),
        long_prompt: tokens.long_prompt,
    };
    assert_eq!(tokens, expected, "{model}");
    assert!(!price.source().is_empty() && price.date() == "2026-11-22", "{model}");
}

#[test]
fn the_shipped_table_knows_every_model_that_it_was_made_for() {
    let table = PriceTable::shipped();
    let haiku = "anthropic.claude-haiku-4-5-20251001-v1:0";
    check(&table, haiku, ("1", "5", Some("0.1"), Some("1.25")));
    check(&table, &format!("global.{haiku}"), ("1", "5", Some("0.1"), Some("1.25")));
    for prefix in ["us.", "eu.", "jp.", "au.", "apac."] {
        check(&table, &format!("{prefix}{haiku}"), ("1.1", "5.5", Some("0.11"), Some("1.375")));
    }
    check(&table, "anthropic.claude-sonnet-4-6", ("3", "15", Some("0.3"), Some("3.75")));
    check(&table, "eu.anthropic.claude-sonnet-4-6", ("3.3", "16.5", Some("0.33"), Some("4.125")));
    check(&table, "anthropic.claude-sonnet-5", ("2", "10", Some("0.2"), Some("2.5")));
    check(&table, "us.anthropic.claude-sonnet-5", ("2.2", "11", Some("0.22"), Some("2.75")));
    check(&table, "anthropic.claude-sonnet-5-5", ("2", "10", Some("0.1"), Some("2.5")));
    check(&table, "anthropic.claude-haiku-5-5", ("0.1", "0.5", Some("0.01"), Some("0.125")));
    for opus in ["anthropic.claude-opus-4-7", "anthropic.claude-opus-4-8", "anthropic.claude-opus-5"] {
        check(&table, opus, ("5", "25", Some("0.5"), Some("6.25")));
    }
    check(&table, "anthropic.claude-opus-5-5", ("4", "20", Some("0.2"), Some("5")));
    check(&table, "amazon.nova-micro-v1:0", ("0.035", "0.14", Some("0.00875"), None));
    check(&table, "us.amazon.nova-lite-v1:0", ("0.06", "0.24", Some("0.015"), None));
    check(&table, "amazon.nova-pro-v1:0", ("0.8", "3.2", Some("0.2"), None));
    check(&table, "amazon.nova-premier-v1:0", ("2.5", "12.5", Some("0.625"), None));
    check(&table, "global.amazon.nova-2-lite-v1:0", ("0.3", "2.5", Some("0.075"), None));
    check(&table, "us.amazon.nova-2-lite-v1:0", ("0.33", "2.75", Some("0.0825"), None));
    check(&table, "us.meta.llama3-3-70b-instruct-v1:0", ("0.72", "0.72", None, None));
    check(&table, "meta.llama3-1-8b-instruct-v1:0", ("0.22", "0.22", None, None));
    check(&table, "meta.llama4-maverick-17b-instruct-v1:0", ("0.24", "0.97", None, None));
    check(&table, "meta.llama4-scout-17b-instruct-v1:0", ("0.17", "0.66", None, None));
    check(&table, "openai.gpt-oss-120b-1:0", ("0.15", "0.6", None, None));
    check(&table, "openai.gpt-oss-20b-1:0", ("0.07", "0.3", None, None));
}

#[test]
fn every_shipped_price_says_where_it_is_from() {
    for (key, price) in &PriceTable::shipped().prices {
        assert!(price.source().len() > 10, "{}: `{}` names no source", key.model, price.source());
        assert_eq!(price.date(), "2026-11-22", "{}", key.model);
    }
}

#[test]
fn tiers_and_batches_have_prices_of_their_own() {
    let table = PriceTable::shipped();
    let key = |tier, billing| PriceKey { model: "us.amazon.nova-2-lite-v1:0".to_owned(), tier, billing };
    let input = |key: &PriceKey| table.find(key).map(|price| price.tokens(CacheTtl::FiveMinutes).input);
    assert_eq!(input(&key(Tier::Priority, Billing::OnDemand)), Some(usd("0.5775")));
    assert_eq!(input(&key(Tier::Flex, Billing::OnDemand)), Some(usd("0.165")));
    assert_eq!(input(&key(Tier::Default, Billing::Batch)), Some(usd("0.165")));
    // Nobody says what it costs: so there is no price, not even the usual one.
    assert_eq!(input(&key(Tier::Reserved, Billing::OnDemand)), None);
}

#[test]
fn an_hour_in_the_cache_costs_more_than_five_minutes() {
    let table = PriceTable::shipped();
    let price = table.find(&PriceKey::new("global.anthropic.claude-sonnet-4-6")).expect("known");
    assert_eq!(price.tokens(CacheTtl::FiveMinutes).cache_write, Some(usd("3.75")));
    assert_eq!(price.tokens(CacheTtl::OneHour).cache_write, Some(usd("6")));
}

#[test]
fn long_prompts_cost_what_their_entry_says() {
    let table = PriceTable::shipped();
    let price = table.find(&PriceKey::new("us.anthropic.claude-haiku-5-5")).expect("known");
    let tokens = price.tokens(CacheTtl::FiveMinutes);
    let usage = |prompt_tokens| Usage { prompt_tokens, ..Usage::default() };
    assert_eq!(tokens.cost(&usage(100_000)), usd("0.011"));
    assert_eq!(tokens.cost(&usage(200_000)), usd("0.11"));
}

#[test]
fn an_arn_has_the_price_of_the_id_in_it() {
    let table = PriceTable::shipped();
    let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-5";
    check(&table, profile, ("2.2", "11", Some("0.22"), Some("2.75")));
    let model = "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0";
    check(&table, model, ("0.06", "0.24", Some("0.015"), None));
    let own = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3";
    assert_eq!(table.find(&PriceKey::new(own)), None);
    let file = format!(r#"{{"prices": [{{"model": "{own}", "input": 2.2, "output": 11}}]}}"#);
    let table = table.with_file(&file).expect("is read");
    let price = table.find(&PriceKey::new(own)).expect("known now");
    assert_eq!(price.tokens(CacheTtl::FiveMinutes).output, usd("11"));
}

#[test]
fn a_model_that_nobody_knows_has_no_price() {
    let table = PriceTable::shipped();
    for model in [
        "anthropic.claude-9",
        "sa.anthropic.claude-sonnet-5",
        "us.amazon.nova-premier-v1:0",
        "",
        "arn:aws:sagemaker:us-east-1:1:foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock",
    ] {
        assert_eq!(table.find(&PriceKey::new(model)), None, "{model}");
    }
}

#[test]
fn a_file_replaces_what_it_names_and_adds_what_is_new() {
    let file = r#"{
        "date": "2027-01-01",
        "prices": [
            {"model": "anthropic.claude-haiku-5-5", "input": 0.0088, "output": 0.5},
            {"model": "qwen3-32b", "profiles": ["", "eu."], "tier": "flex", "input": 0.1, "output": 0.2}
        ]
    }"#;
    let table = PriceTable::shipped().with_file(file).expect("is read");
    let replaced = table.find(&PriceKey::new("anthropic.claude-haiku-5-5")).expect("known");
    assert_eq!((replaced.source(), replaced.date()), ("the price file", "2027-01-01"));
    let tokens = replaced.tokens(CacheTtl::FiveMinutes);
    assert_eq!(tokens.input.nanos(), 8_800_000);
    assert_eq!((tokens.cache_read, tokens.long_prompt), (None, None), "nothing of the old price is left");
    check(&table, "us.anthropic.claude-haiku-5-5", ("0.11", "0.55", Some("0.011"), Some("0.1375")));
    let added = PriceKey { tier: Tier::Flex, ..PriceKey::new("eu.qwen3-32b") };
    assert!(table.find(&added).is_some());
    assert!(table.find(&PriceKey::new("eu.qwen3-32b")).is_none());
}

#[test]
fn a_wrong_file_is_refused_with_what_is_wrong_and_where() {
    let cases = [
        ("{", "EOF while parsing an object at line 1 column 1"),
        (r#"{"prices": [{"model": "m", "input": 1}]}"#, "missing field `output`"),
        (
            r#"{"prices": [{"model": "m", "input": 1e-3, "output": 1}]}"#,
            "`1e-3` is no amount of dollars: write a number like 0.0088",
        ),
        (r#"{"prices": [{"model": "m", "input": -1, "output": 1}]}"#, "`-1` is no amount"),
        (r#"{"prices": [{"model": "m", "input": "1", "output": 1}]}"#, "`\"1\"` is no amount"),
        (r#"{"prices": [{"model": "m", "in": 1, "output": 1}]}"#, "unknown field `in`"),
        (
            r#"{"prices": [{"model": "m", "tier": "fast", "input": 1, "output": 1}]}"#,
            "the price of `m` is for the tier `fast`: tiers are default, priority, flex and reserved",
        ),
        (
            r#"{"prices": [{"model": "m", "profiles": [], "input": 1, "output": 1}]}"#,
            "the price of `m` has an empty list of profiles",
        ),
        (
            r#"{"prices": [{"model": "m", "profiles": ["us.", "us."], "batch": true, "input": 1, "output": 1}]}"#,
            "`us.m` has two prices for the tier `default` in batches: leave one",
        ),
        (
            r#"{"prices": [{"model": "m", "above_prompt_tokens": 9, "input": 1, "output": 1}]}"#,
            "`m` has a price above 9 prompt tokens, and none below: add it",
        ),
    ];
    for (json, expected) in cases {
        let error = PriceTable::default().with_file(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    let error = PriceTable::default()
        .with_file("{\"prices\": [\n{\"model\": \"m\", \"input\": 1, \"output\": 1e2}]}")
        .expect_err("no amount");
    assert!(error.to_string().contains("at line 2"), "{error}");
}
