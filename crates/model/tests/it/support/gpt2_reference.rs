//! A simple GPT-2 over the tensors of its file, and folders in the format of other programs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use serde_json::{Value, json};

pub const VOCABULARY: usize = 97;
pub const POSITIONS: usize = 40;
pub const LAYERS: usize = 3;
const WIDTH: usize = 30;
const HEADS: usize = 6; // with an odd head width, which rotary positions could not have

/// Returns the file's tensors by name, without the prefix `transformer.`; norms and biases do not have their initial
/// values.
pub fn tensors() -> BTreeMap<String, Tensor> {
    let mut state = 7u64;
    let mut numbers = |dims: &[usize], around: f32, spread: f32| {
        let count = dims.iter().product();
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            around + spread * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
        };
        let values: Vec<f32> = std::iter::repeat_with(next).take(count).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    };
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, tensor: Tensor| tensors.insert(name, tensor);
    add("wte.weight".into(), numbers(&[VOCABULARY, WIDTH], 0.0, 0.6));
    add("wpe.weight".into(), numbers(&[POSITIONS, WIDTH], 0.0, 0.6));
    let mut norms = vec!["ln_f".to_owned()];
    for layer in 0..LAYERS {
        for (part, inputs, outputs) in [
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ] {
            let weight = numbers(&[inputs, outputs], 0.0, 0.4);
            add(format!("h.{layer}.{part}.weight"), weight);
            let bias = numbers(&[outputs], 0.0, 0.4);
            add(format!("h.{layer}.{part}.bias"), bias);
        }
        norms.extend([format!("h.{layer}.ln_1"), format!("h.{layer}.ln_2")]);
    }
    for norm in norms {
        add(format!("{norm}.weight"), numbers(&[WIDTH], 1.0, 0.5));
        add(format!("{norm}.bias"), numbers(&[WIDTH], 0.0, 0.5));
    }
    tensors
}

/// Returns a `config.json` in the format of `transformers`, with the keys of `words` replaced.
pub fn config(words: &Value) -> Value {
    let mut config = json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 0, "embd_pdrop": 0.1, "eos_token_id": 0, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-3, "model_type": "gpt2", "n_ctx": POSITIONS, "n_embd": WIDTH, "n_head": HEADS,
        "n_inner": null, "n_layer": LAYERS, "n_positions": POSITIONS, "resid_pdrop": 0.1,
        "summary_type": "cls_index", "vocab_size": VOCABULARY,
    });
    for (key, value) in words.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// Writes the weights of a folder, with the extra tensors of other programs.
pub fn write_tensors(path: &Path, prefix: &str, tensors: &BTreeMap<String, Tensor>) {
    let mut all: HashMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
        .collect();
    let mask = Tensor::ones(
        (1, 1, POSITIONS, POSITIONS),
        candle_core::DType::U8,
        &Device::Cpu,
    );
    all.insert(format!("{prefix}h.0.attn.bias"), mask.unwrap());
    let masked = Tensor::new(-1e4f32, &Device::Cpu).unwrap();
    all.insert(format!("{prefix}h.0.attn.masked_bias"), masked);
    all.insert("lm_head.weight".into(), tensors["wte.weight"].clone());
    candle_core::safetensors::save(&all, path).unwrap();
}

/// Computes x·W + b, with W of shape `(in, out)`.
fn projected(x: &Tensor, of: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    x.matmul(&of[&format!("{name}.weight")])?
        .broadcast_add(&of[&format!("{name}.bias")])
}

fn normed(x: &Tensor, of: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-3)?.sqrt()?;
    centred
        .broadcast_div(&deviation)?
        .broadcast_mul(&of[&format!("{name}.weight")])?
        .broadcast_add(&of[&format!("{name}.bias")])
}

/// Computes the logits of one document: (tokens, vocabulary).
pub fn logits(of: &BTreeMap<String, Tensor>, ids: &[u32]) -> Result<Tensor> {
    let (count, device) = (ids.len(), &Device::Cpu);
    let places = Tensor::arange(0, count as u32, device)?;
    let ids = Tensor::from_slice(ids, count, device)?;
    let mut x =
        (of["wte.weight"].index_select(&ids, 0)? + of["wpe.weight"].index_select(&places, 0)?)?;
    let hidden: Vec<f32> = (0..count * count)
        .map(|at| f32::from(u8::from(at % count > at / count)) * -1e9)
        .collect();
    let hidden = Tensor::from_vec(hidden, (count, count), device)?;
    for layer in 0..LAYERS {
        let name = |part: &str| format!("h.{layer}.{part}");
        let all = projected(&normed(&x, of, &name("ln_1"))?, of, &name("attn.c_attn"))?;
        let part = |which: usize| {
            all.narrow(1, which * WIDTH, WIDTH)?
                .reshape((count, HEADS, WIDTH / HEADS))?
                .transpose(0, 1)?
                .contiguous() // (heads, tokens, d)
        };
        let scores = part(0)?.matmul(&part(1)?.t()?)?;
        let scores = (scores / ((WIDTH / HEADS) as f64).sqrt())?.broadcast_add(&hidden)?;
        let mixed = softmax(&scores, D::Minus1)?.matmul(&part(2)?)?;
        let mixed = mixed.transpose(0, 1)?.reshape((count, WIDTH))?;
        x = (&x + projected(&mixed, of, &name("attn.c_proj"))?)?;
        let wide = projected(&normed(&x, of, &name("ln_2"))?, of, &name("mlp.c_fc"))?;
        let u = ((&wide + (wide.sqr()?.mul(&wide)? * 0.044715)?)? * 0.797_884_560_8)?;
        let active = ((wide * 0.5)? * (u.tanh()? + 1.0)?)?;
        x = (&x + projected(&active, of, &name("mlp.c_proj"))?)?;
    }
    normed(&x, of, "ln_f")?.matmul(&of["wte.weight"].t()?)
}

/// Computes the loss Σ −ln p over the targets.
pub fn loss(of: &BTreeMap<String, Tensor>, ids: &[u32], targets: &[u32]) -> Result<Tensor> {
    let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
    log_softmax(&logits(of, ids)?, D::Minus1)?
        .gather(&targets, D::Minus1)?
        .sum_all()?
        .neg()
}

/// Returns the file's tensor `name`, made of the parameters; `ours` returns a parameter by its Llama name.
pub fn of_file(name: &str, ours: &dyn Fn(&str) -> Tensor) -> Tensor {
    let outside = [
        ("wte.weight", "model.embed_tokens.weight"),
        ("wpe.weight", "model.embed_positions.weight"),
        ("ln_f.weight", "model.norm.weight"),
        ("ln_f.bias", "model.norm.bias"),
    ];
    if let Some((_, here)) = outside.iter().find(|(there, _)| *there == name) {
        return ours(here);
    }
    let mut parts = name.splitn(3, '.').skip(1);
    let (layer, rest) = (parts.next().unwrap(), parts.next().unwrap());
    let (module, end) = rest.rsplit_once('.').unwrap();
    let own = |part: &str| ours(&format!("model.layers.{layer}.{part}.{end}"));
    let turned = |tensor: Tensor| match end {
        "weight" => tensor.t().unwrap(),
        _ => tensor,
    };
    match module {
        "ln_1" => own("input_layernorm"),
        "ln_2" => own("post_attention_layernorm"),
        "attn.c_attn" => {
            let parts =
                ["q_proj", "k_proj", "v_proj"].map(|part| own(&format!("self_attn.{part}")));
            turned(Tensor::cat(&parts, 0).unwrap())
        }
        "attn.c_proj" => turned(own("self_attn.o_proj")),
        "mlp.c_fc" => turned(own("mlp.up_proj")),
        "mlp.c_proj" => turned(own("mlp.down_proj")),
        other => panic!("no module of GPT-2: {other}"),
    }
}
