//! Environments, and what comes of them.

use super::*;

#[test]
fn the_cache_folder_is_the_most_specific_one_that_is_set() {
    let mut environment = Environment::default();
    assert_eq!(environment.cache_folder(), None);
    environment.home = Some("/home/ann".into());
    assert_eq!(environment.cache_folder(), Some(PathBuf::from("/home/ann/.cache/spillway")));
    environment.xdg_cache_home = Some("/cache".into());
    assert_eq!(environment.cache_folder(), Some(PathBuf::from("/cache/spillway")));
    environment.spillway_cache = Some("/models".into());
    assert_eq!(environment.cache_folder(), Some(PathBuf::from("/models")));
}

#[test]
fn the_hubs_cache_is_where_its_own_tools_have_it() {
    let mut environment = Environment::default();
    assert!(matches!(environment.hub(), Err(ConfigError::NoHubCache)));
    let cache = |environment: &Environment| environment.hub().expect("a cache").cache;
    environment.home = Some("/home/ann".into());
    assert_eq!(cache(&environment), Path::new("/home/ann/.cache/huggingface/hub"));
    environment.xdg_cache_home = Some("/cache".into());
    assert_eq!(cache(&environment), Path::new("/cache/huggingface/hub"));
    environment.hub.home = Some("/hf".into());
    assert_eq!(cache(&environment), Path::new("/hf/hub"));
    environment.hub.cache = Some("/repositories".into());
    assert_eq!(cache(&environment), Path::new("/repositories"));
}

#[test]
fn the_token_is_the_variable_or_the_named_file_or_what_a_login_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut environment = Environment::default();
    environment.hub.home = Some(folder.path().into());
    let token = |environment: &Environment| environment.hub().map(|hub| hub.token);
    assert_eq!(token(&environment).expect("none is fine"), None);
    std::fs::write(folder.path().join("token"), "hf_login\n").expect("room on the disk");
    assert_eq!(token(&environment).expect("a token"), Some(HubToken::new("hf_login")));
    let named = folder.path().join("named");
    environment.hub.token_path = Some(named.clone().into());
    assert!(matches!(token(&environment), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&named, "hf_named").expect("room on the disk");
    assert_eq!(token(&environment).expect("a token"), Some(HubToken::new("hf_named")));
    environment.hub.token = Some("hf_variable".into());
    assert_eq!(token(&environment).expect("a token"), Some(HubToken::new("hf_variable")));
    environment.hub.token = Some("hf_secret\nline".into());
    let error = token(&environment).expect_err("no header can hold it").to_string();
    assert!(error.contains("HF_TOKEN") && !error.contains("secret"), "{error}");
}

#[test]
fn endpoint_and_offline_are_checked() {
    let mut environment = Environment { home: Some("/home/ann".into()), ..Environment::default() };
    let hub = environment.hub().expect("defaults");
    assert_eq!((hub.endpoint.as_str(), hub.access), ("https://huggingface.co", HubAccess::Online));
    environment.hub.endpoint = Some("http://mirror:8080/".into());
    for (value, access) in [("1", HubAccess::Offline), ("TRUE", HubAccess::Offline), ("0", HubAccess::Online)]
    {
        environment.hub.offline = Some(value.into());
        let hub = environment.hub().expect("both can be followed");
        assert_eq!((hub.endpoint.as_str(), hub.access), ("http://mirror:8080", access));
    }
    environment.hub.offline = Some("perhaps".into());
    let error = environment.hub().expect_err("neither yes nor no").to_string();
    assert_eq!(error, "HF_HUB_OFFLINE is `perhaps`, must be 1 or 0");
    environment.hub.endpoint = Some("mirror:8080".into());
    let error = environment.hub().expect_err("no address").to_string();
    assert!(error.starts_with("HF_ENDPOINT is `mirror:8080`, must be an address"), "{error}");
}
