//! The mixture against its reference, and its independence of company.

use super::*;
use crate::ops::testing::{Random, assert_close, assert_same_bits, devices, tensor, values, workspace};
use crate::weight::{ComputeType, WeightSource, WeightType};

const HIDDEN: usize = 32;
const FFN: usize = 48;

/// Random experts, and their numbers: `[2 * ffn, hidden]` and `[hidden, ffn]` each.
struct Mixture {
    num_active: usize,
    weighting: ExpertWeighting,
    numbers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Mixture {
    fn new(num_experts: usize, num_active: usize, weighting: ExpertWeighting) -> Self {
        let mut random = Random(7);
        let numbers = (0..num_experts)
            .map(|_| (random.numbers(2 * FFN * HIDDEN), random.numbers(HIDDEN * FFN)))
            .collect();
        Self { num_active, weighting, numbers }
    }

    fn experts(&self, device: &Device) -> Vec<Expert> {
        let pack = |numbers: &[f32], shape| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let source = WeightSource::new(WeightType::F32, shape, &bytes).expect("bytes fit");
            PackedWeight::pack(device, &[source], ComputeType::Stored).expect("packs")
        };
        let expert = |(gate_up, down): &(Vec<f32>, Vec<f32>)| Expert {
            gate_up: pack(gate_up, [2 * FFN, HIDDEN]),
            down: pack(down, [HIDDEN, FFN]),
        };
        self.numbers.iter().map(expert).collect()
    }

    fn run(&self, device: &Device, x: &[f32], logits: &[f32]) -> Vec<f32> {
        let (tokens, num_experts) = (x.len() / HIDDEN, self.numbers.len());
        let experts_of_device = self.experts(device);
        let limits = ExpertsLimits {
            max_tokens: 64,
            max_experts: num_experts,
            max_active: self.num_active,
            hidden: HIDDEN,
            ffn: FFN,
        };
        let mut scratch = ExpertsScratch::new(device, limits).expect("memory is there");
        let (x, logits) =
            (tensor(device, [tokens, HIDDEN], x), tensor(device, [tokens, num_experts], logits));
        let mut out = tensor(device, [tokens, HIDDEN], &vec![f32::NAN; tokens * HIDDEN]);
        let arguments = ExpertsArguments {
            x: x.view(),
            router_logits: logits.view(),
            experts: &experts_of_device,
            num_active: self.num_active,
            weighting: self.weighting,
            activation: Activation::Silu,
        };
        // Twice, so that what one step leaves in the lists shows in the next.
        for _ in 0..2 {
            experts(device, &mut workspace(device), &mut scratch, arguments, out.view_mut()).expect("fits");
        }
        values(&out)
    }

    /// One token in f64, in plain loops: all experts are sorted, and the best taken.
    fn reference(&self, x: &[f32], logits: &[f32]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let chosen = &order[..self.num_active];
        let exponential = |expert: usize| f64::from(logits[expert]).exp();
        let total: f64 = match self.weighting {
            ExpertWeighting::OfAll => (0..logits.len()).map(exponential).sum(),
            ExpertWeighting::OfChosen => chosen.iter().map(|&expert| exponential(expert)).sum(),
        };
        let product = |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let mut out = vec![0.0; HIDDEN];
        for &expert in chosen {
            let (gate_up, down) = &self.numbers[expert];
            let both: Vec<f64> = gate_up.chunks(HIDDEN).map(|row| product(row, &x)).collect();
            let gated = |index: usize| both[index] / (1.0 + (-both[index]).exp()) * both[FFN + index];
            let activated: Vec<f64> = (0..FFN).map(gated).collect();
            for (sum, row) in out.iter_mut().zip(down.chunks(FFN)) {
                *sum += exponential(expert) / total * product(row, &activated);
            }
        }
        out
    }
}

#[test]
fn agrees_with_the_reference_on_every_instruction_set() {
    let mut random = Random(1);
    for (num_experts, num_active) in [(1, 1), (4, 2), (9, 3), (5, 5)] {
        for weighting in [ExpertWeighting::OfAll, ExpertWeighting::OfChosen] {
            let mixture = Mixture::new(num_experts, num_active, weighting);
            for tokens in [0, 1, 40] {
                let x = random.numbers(tokens * HIDDEN);
                let logits: Vec<f32> = random.numbers(tokens * num_experts).iter().map(|x| x * 3.0).collect();
                let rows = x.chunks(HIDDEN).zip(logits.chunks(num_experts));
                let expected: Vec<f64> = rows.flat_map(|(x, logits)| mixture.reference(x, logits)).collect();
                let mut first: Option<Vec<f32>> = None;
                for device in devices() {
                    let out = mixture.run(&device, &x, &logits);
                    assert_close(&format!("{num_experts} {weighting:?}"), &out, &expected, 1e-4);
                    let first = first.get_or_insert_with(|| out.clone());
                    assert_same_bits("instruction sets", &out, first);
                }
            }
        }
    }
}

#[test]
fn a_token_does_not_depend_on_who_shares_its_experts() {
    let mixture = Mixture::new(6, 2, ExpertWeighting::OfChosen);
    let mut random = Random(2);
    let (x, mut logits) = (random.numbers(40 * HIDDEN), random.numbers(40 * 6));
    // One that is no number spoils its own token and no other.
    logits[39 * 6] = f32::NAN;
    for device in devices() {
        let together = mixture.run(&device, &x, &logits);
        for (token, together) in together.chunks(HIDDEN).take(39).enumerate() {
            let (x, logits) = (&x[token * HIDDEN..][..HIDDEN], &logits[token * 6..][..6]);
            assert_same_bits(&format!("token {token}"), together, &mixture.run(&device, x, logits));
        }
        assert!(together[39 * HIDDEN..].iter().all(|x| x.is_nan()));
    }
}

#[test]
fn of_equal_logits_the_lower_index_is_chosen() {
    let mixture = Mixture::new(5, 2, ExpertWeighting::OfAll);
    let device = devices().remove(0);
    let x = Random(3).numbers(HIDDEN);
    for logits in [[0.5; 5], [0.0, 1.0, 2.0, 1.0, 1.0]] {
        let expected = mixture.reference(&x, &logits);
        assert_close("ties", &mixture.run(&device, &x, &logits), &expected, 1e-4);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let device = devices().remove(0);
    let experts_of_device = Mixture::new(3, 1, ExpertWeighting::OfAll).experts(&device);
    let limits = ExpertsLimits { max_tokens: 1, max_experts: 3, max_active: 2, hidden: HIDDEN, ffn: FFN };
    let mut scratch = ExpertsScratch::new(&device, limits).expect("memory is there");
    let mut refusal = |tokens: usize, num_active: usize, num_experts: usize| {
        let x = tensor(&device, [tokens, HIDDEN], &vec![0.0; tokens * HIDDEN]);
        let logits = tensor(&device, [tokens, num_experts], &vec![0.0; tokens * num_experts]);
        let mut out = tensor(&device, [tokens, HIDDEN], &vec![0.0; tokens * HIDDEN]);
        let arguments = ExpertsArguments {
            x: x.view(),
            router_logits: logits.view(),
            experts: &experts_of_device,
            num_active,
            weighting: ExpertWeighting::OfAll,
            activation: Activation::Silu,
        };
        let result = experts(&device, &mut workspace(&device), &mut scratch, arguments, out.view_mut());
        result.expect_err("it does not fit").to_string()
    };
    assert_eq!(refusal(2, 1, 3), "`tokens` is 2, limit 1");
    assert_eq!(refusal(1, 3, 3), "`num_active` is 3, limit 2");
    assert_eq!(refusal(1, 0, 3), "`num_active` is 0, but must be at least 1");
    assert!(refusal(1, 1, 4).contains("router_logits"));
}
