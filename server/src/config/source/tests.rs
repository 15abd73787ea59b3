//! Files, and what comes of them. The helpers serve the tests of the file's sections, too.

use std::collections::BTreeMap;

use super::*;
use crate::config::environment::NamedVariables;

/// An environment with a home and the variables that files name.
fn environment() -> Environment {
    let named = BTreeMap::from([
        ("UPSTREAM_KEY".to_owned(), "sk-upstream".to_owned()),
        ("BLANK_KEY".to_owned(), "two words".to_owned()),
    ]);
    Environment {
        home: Some("/home/ann".into()),
        named: NamedVariables::These(named),
        ..Environment::default()
    }
}

/// What becomes of a file with this text.
pub(in crate::config) fn read(text: &str) -> Result<ServeConfig, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    let source = ConfigSource::new(file.path().to_owned(), &RawConfig::default(), |_| false, &environment())
        .expect("there are no flags");
    let shown = format!("config file {}", file.path().display());
    source.read().map_err(|error| error.to_string().replace(&shown, "file"))
}

/// A file that can be followed.
pub(in crate::config) fn followed(text: &str) -> ServeConfig {
    read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Each text is `base` with its marked line put in place of the line that begins alike, and is refused with a message
/// that has the number of that line and `expected`.
pub(in crate::config) fn check_refused(base: &str, cases: &[(&str, &str, &str)]) {
    for (line, instead, expected) in cases {
        assert!(base.contains(line), "`{line}` is in the base");
        let text = base.replacen(line, instead, 1);
        let message = read(&text).expect_err(&format!("`{instead}` is refused"));
        let before = base.find(line).map_or(0, |start| base[..start].matches('\n').count());
        // The last line of what was put in is the one that is wrong.
        let number = before + instead.matches('\n').count() + 1;
        let expected = format!("file, line {number}: {expected}");
        assert!(message.starts_with(&expected), "\nfound    {message}\nexpected {expected}");
    }
}

const FILE: &str = "[model]\nmodel = \"demo\"\n\n[server]\nport = 9\nmax_body = \"2MiB\"\n\n[security]\nallowed_origin = []\n";

#[test]
fn a_value_of_the_file_is_refused_with_its_line() {
    check_refused(
        FILE,
        &[
            ("max_body = \"2MiB\"", "max_body = \"0B\"", "--max-body is 0B, must be more than 0B"),
            ("port = 9", "port = 9\nclient_timeout = \"0s\"", "--client-timeout is 0s"),
            ("allowed_origin = []", "tls_cert = \"c.pem\"", "--tls-cert is given without --tls-key"),
            ("allowed_origin = []", "allowed_origin = [\"a\"]", "--allowed-origin is a, must be"),
            (
                "allowed_origin = []",
                "api_key_file = \"/no/such\"",
                "--api-key-file /no/such could not be read",
            ),
        ],
    );
}

#[test]
fn a_key_that_is_unknown_or_of_the_wrong_type_is_refused_with_its_line() {
    for (text, expected) in [
        ("[server]\nprot = 9\n", "file, line 2: unknown field `prot`"),
        ("[rotues]\n", "file, line 1: unknown field `rotues`"),
        ("[[routes]]\nname = \"a\"\ntarget = []\n", "file, line 3: unknown field `target`"),
        (
            "[[routes]]\nname = 3\n",
            "file, line 2: invalid type: integer `3`, expected a string (at `routes[0].name`)",
        ),
        (
            "[[backends]]\ntype = \"azure\"\n",
            "file, line 2: unknown variant `azure`, expected one of `local`",
        ),
        ("[[backends]]\nconnect_timeout = \"3\"\n", "file, line 2: duration is `3`, must be a whole number"),
        ("[[backends]]\nprice = {\n input = \"1$\" }\n", "file, line 3: dollars are `1$`, must be a decimal"),
        ("[[backends]]\nfeatures = [\"telepathy\"]\n", "file, line 2: unknown variant `telepathy`"),
        ("[[backends]]\ncontext_tokens = 0\n", "file, line 2: invalid value: integer `0`"),
        ("[server]\nport = \n", "file, line 2: "),
    ] {
        let message = read(text).expect_err("it is refused");
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    for text in [
        "[[backends]]\napi_key = [\"sk-live\"]\n",
        "[[backends]]\napi_key = \"sk-live\n",
        "[[backends]]\nheaders = { x-key = [\"sk-live\"] }\n",
        "[security]\napi_key = [\n  \"sk-live=\" 3,\n]\n",
        "[[keys]]\nname = \"a\"\nsha256 = \"sk-live\"\n",
        "[model]\nmodel = \"demo\"\n[[backends]]\nname = \"a\"\ntype = \"openai\"\nboundary = \"inside\"\nmodel = \"m\"\n\
         urls = [\"http://ann:sk-live@host\"]\n",
    ] {
        let message = read(text).expect_err("it is refused");
        assert!(!message.contains("sk-live"), "{message}");
    }
}

#[test]
fn a_flag_over_the_file_is_not_blamed_on_the_file() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), FILE).expect("it can be written");
    let mut flags = RawConfig::default();
    flags.server.max_body = "0B".parse().expect("a size");
    let is_given = |flag: &str| flag == "max_body";
    let source = ConfigSource::new(file.path().to_owned(), &flags, is_given, &environment());
    let error = source.expect("they can be written").read().expect_err("it is refused");
    assert_eq!(error.to_string(), "--max-body is 0B, must be more than 0B");
}

#[test]
fn what_the_file_says_is_read_anew_under_the_same_flags() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), FILE).expect("it can be written");
    let mut flags = RawConfig::default();
    flags.server.port = 7;
    let source = ConfigSource::new(file.path().to_owned(), &flags, |flag| flag == "port", &environment())
        .expect("they can be written");
    let ports = || source.read().map(|config| (config.http.public.port, config.http.max_body.to_string()));
    assert_eq!(ports().expect("it can be followed"), (7, "2MiB".to_owned()));
    std::fs::write(file.path(), FILE.replace("2MiB", "3MiB")).expect("it can be written");
    assert_eq!(ports().expect("it can be followed"), (7, "3MiB".to_owned()));
    std::fs::write(file.path(), "").expect("it can be written");
    assert!(matches!(source.read(), Err(ConfigError::NoModel)));
}
