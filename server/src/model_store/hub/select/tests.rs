//! Repositories as people make them, and what is taken of each.

use super::*;

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn usual(list: &str) -> Result<Selection, SelectError> {
    select(&names(list), &HubFiles::Usual)
}

fn tagged(list: &str, tag: &str) -> Result<Selection, SelectError> {
    select(&names(list), &HubFiles::Quantisation(tag.to_owned()))
}

#[test]
fn a_folder_is_its_weights_once_and_what_belongs_to_them() {
    let list = ".gitattributes LICENSE README.md config.json generation_config.json merges.txt model.safetensors \
                tokenizer.json tokenizer_config.json vocab.json chat_template.jinja pytorch_model.bin \
                onnx/config.json consolidated.safetensors model.safetensors.index.json";
    let files = names(
        "config.json generation_config.json tokenizer.json tokenizer_config.json chat_template.jinja model.safetensors",
    );
    assert_eq!(usual(list), Ok(Selection::Folder { files, weights: Weights::Single }));
    let sharded = "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors \
                   model.safetensors.index.json tokenizer.json a-Q8_0.gguf";
    let files = names("config.json tokenizer.json model.safetensors.index.json");
    assert_eq!(usual(sharded), Ok(Selection::Folder { files, weights: Weights::Indexed }));
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index =
        br#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
    let listed = names("m-1.safetensors m-2.safetensors other.safetensors");
    assert_eq!(shards(index, &listed), Ok(names("m-1.safetensors m-2.safetensors")));
    assert_eq!(shards(index, &listed[..1]), Err(SelectError::NoShard("m-2.safetensors".to_owned())));
    assert!(matches!(shards(b"{}", &listed), Err(SelectError::Index(_))));
}

#[test]
fn a_gguf_file_is_found_by_its_quantisation_or_its_name() {
    let list = "README.md m-Q4_K_M.gguf m-q8_0.gguf m.Q4_K_S.gguf sub/m-IQ4_XS.gguf mmproj-m-F16.gguf";
    for (tag, file) in [("q4_k_m", "m-Q4_K_M.gguf"), ("Q8_0", "m-q8_0.gguf"), ("IQ4_XS", "sub/m-IQ4_XS.gguf")]
    {
        assert_eq!(tagged(list, tag), Ok(Selection::Gguf(file.to_owned())));
    }
    // Part of a tag is no tag, and a projector is no model.
    for tag in ["Q4_K", "F16", "M"] {
        let refused = tagged(list, tag).map(|_| ()).map_err(|error| error.to_string());
        let expected =
            if tag == "M" { "several GGUF files in it are of" } else { "no GGUF file in it is of" };
        assert!(refused.as_ref().is_err_and(|error| error.starts_with(expected)), "{tag}: {refused:?}");
    }
    let named = |file: &str| select(&names(list), &HubFiles::Gguf(file.to_owned()));
    assert_eq!(named("sub/m-IQ4_XS.gguf"), Ok(Selection::Gguf("sub/m-IQ4_XS.gguf".to_owned())));
    assert!(matches!(named("m-Q5_0.gguf"), Err(SelectError::NoFile { files, .. }) if files.len() == 4));
    assert_eq!(usual("m-Q8_0.gguf config.json"), Ok(Selection::Gguf("m-Q8_0.gguf".to_owned())));
}

#[test]
fn what_cannot_be_chosen_lists_what_there_is() {
    for (outcome, expected) in [
        (usual("a-Q4_0.gguf a-Q8_0.gguf"), "they are: a-Q4_0.gguf, a-Q8_0.gguf"),
        (
            tagged("a-Q4_0.gguf b-Q4_0.gguf", "Q4_0"),
            "name one as owner/name/FILE; they are: a-Q4_0.gguf, b-Q4_0.gguf",
        ),
        (tagged("README.md", "Q4_0"), "its GGUF files: none"),
        (usual("README.md pytorch_model.bin"), "nor a GGUF file; its files: README.md, pytorch_model.bin"),
        (usual("config.json model.safetensors"), "it has no tokenizer.json"),
        (tagged("a-Q4_0-00001-of-00002.gguf a-Q4_0-00002-of-00002.gguf", "Q4_0"), "is one part of several"),
        (usual("a-00001-of-00001.gguf"), "is one part of several"),
    ] {
        let error = outcome.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
