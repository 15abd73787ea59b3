//! Goal: quantised products lose no more than llama.cpp's. Method: the perplexity of a fixed text, within half a percent
//! of llama.cpp's for the same file.

use spillway_models::DtypePolicy;
use spillway_tests::perplexity::{Scorer, TEXT_FILE, perplexity, perplexity_golden};
use spillway_tests::{demo_model, golden_folder};

#[test]
fn the_demo_model_predicts_a_text_as_well_as_llama_cpp_says() {
    let golden = perplexity_golden();
    let context = golden.windows[0].len();
    for dtype in [DtypePolicy::Auto, DtypePolicy::F32] {
        let mut scorer = Scorer::load(&demo_model(), dtype, context).expect("the demo model loads");
        let text = std::fs::read_to_string(golden_folder().join(TEXT_FILE)).expect("the text is there");
        let windows = scorer.windows(&text).expect("the text is tokenised");
        assert_eq!(windows.len(), golden.num_text_tokens / context);
        assert_eq!(windows[..golden.windows.len()], golden.windows, "the text's tokens");
        let logprobs: Vec<f32> =
            golden.windows.iter().flat_map(|window| scorer.score(window).expect("it is scored")).collect();
        let ratio = perplexity(&logprobs) / golden.perplexity;
        assert!((ratio - 1.0).abs() < 0.005, "{dtype:?}: {ratio} times llama.cpp's {}", golden.perplexity);
    }
}
