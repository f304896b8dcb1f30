//! Least work of a training step, by the shape of its operations, and the time that a GPU's roofline gives for work.

use polymath_model::{Family, KernelCount, ModelConfig, Precision, Unit};

/// Published rates of a GPU: dense products (without sparsity) with sums in f32, and memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Name.
    pub name: &'static str,
    /// Bytes per second of its memory.
    pub bandwidth: f64,
    /// FLOP/s of tensor cores with factors in bf16.
    pub bf16: f64,
    /// FLOP/s of tensor cores in TF32.
    pub tf32: f64,
    /// FLOP/s in f32 without tensor cores.
    pub f32: f64,
    /// Document with these figures.
    pub source: &'static str,
}

/// GPUs for which `polymath bench --count` forecasts the time of a step.
pub const GPUS: [Gpu; 4] = [
    Gpu {
        name: "A100 80 GB SXM",
        bandwidth: 2.039e12,
        bf16: 312e12,
        tf32: 156e12,
        f32: 19.5e12,
        source: "NVIDIA A100 Tensor Core GPU datasheet",
    },
    Gpu {
        name: "H100 SXM",
        bandwidth: 3.35e12,
        bf16: 989.4e12,
        tf32: 494.7e12,
        f32: 66.9e12,
        source: "NVIDIA H100 Tensor Core GPU datasheet and architecture white paper",
    },
    Gpu {
        name: "H200 SXM",
        bandwidth: 4.8e12,
        bf16: 989.4e12,
        tf32: 494.7e12,
        f32: 66.9e12,
        source: "NVIDIA H200 Tensor Core GPU datasheet",
    },
    Gpu {
        name: "RTX 4090",
        bandwidth: 1.008e12,
        bf16: 165.2e12,
        tf32: 82.6e12,
        f32: 82.6e12,
        source: "NVIDIA Ada GPU architecture white paper, appendix A",
    },
];

impl Gpu {
    /// Returns the seconds in which the GPU can do this work at best: the longer of moving its bytes and computing its
    /// operations.
    pub fn seconds(&self, bytes: f64, flops: f64, unit: Unit) -> f64 {
        let rate = match unit {
            Unit::Bf16 => self.bf16,
            Unit::Tf32 => self.tf32,
            Unit::F32 => self.f32,
        };
        (bytes / self.bandwidth).max(flops / rate)
    }

    /// Returns the seconds of counted work, kernel after kernel, each at its roofline. Launches cost nothing here.
    pub fn forecast(&self, counts: &[KernelCount]) -> f64 {
        let seconds = counts
            .iter()
            .map(|count| self.seconds(count.moved as f64, count.flops(), count.unit));
        seconds.sum()
    }
}

/// Operation of a training step that reads each operand once and writes each result once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeastWork {
    /// Name of the operation.
    pub name: &'static str,
    /// Bytes that it moves in a step.
    pub bytes: f64,
    /// Floating-point operations of attention and of products.
    pub flops: f64,
}

/// Rows, sequence length and precision of a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepShape {
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens of a row.
    pub sequence: usize,
    /// Precision of the products.
    pub precision: Precision,
}

/// Sizes in f64, for bytes and operations.
struct Sizes {
    /// Tokens of the batch.
    tokens: f64,
    layers: f64,
    hidden: f64,
    /// Width of queries, keys and values together.
    joined: f64,
    /// Width of the queries.
    queries: f64,
    /// Width of the feed-forward's gate and up projections together.
    sides: f64,
    /// Width of its down projection's input.
    inner: f64,
    vocabulary: f64,
    /// Bytes of a factor.
    factor: f64,
    /// Bytes for each element of a weight to make it a factor.
    cast: f64,
}

/// Returns the least work of a training step of a whole model with AdamW. Factors of products are kept in the
/// precision; residual stream, logits, gradients of weights and the optimizer are in f32.
pub fn least_work(config: &ModelConfig, shape: StepShape) -> Vec<LeastWork> {
    let sizes = Sizes::new(config, shape);
    let mut all = sizes.attention(config, shape.sequence);
    all.extend(sizes.feed_forward());
    all.extend(sizes.ends(config));
    all
}

impl Sizes {
    fn new(config: &ModelConfig, shape: StepShape) -> Self {
        let inner = config.intermediate_size as f64;
        let heads = (config.num_attention_heads + 2 * config.num_key_value_heads) as f64;
        let (factor, cast) = match shape.precision {
            Precision::F32 | Precision::Tf32 => (4.0, 0.0),
            Precision::Bf16 => (2.0, 6.0),
        };
        Self {
            tokens: (shape.rows * shape.sequence) as f64,
            layers: config.num_hidden_layers as f64,
            hidden: config.hidden_size as f64,
            joined: heads * config.head_dim as f64,
            queries: (config.num_attention_heads * config.head_dim) as f64,
            sides: match config.family {
                Family::Gpt2 => inner,
                _ => 2.0 * inner,
            },
            inner,
            vocabulary: config.vocab_size as f64,
            factor,
            cast,
        }
    }

    /// Returns the three products of a weight (outputs, inputs): its output, the gradient of its input and its own. The
    /// bytes are those that go to and from memory for each element of the output and of the input's gradient.
    fn products(&self, inputs: f64, outputs: f64, [forward, backward]: [f64; 2]) -> LeastWork {
        let (x, y, weight) = (
            self.tokens * inputs,
            self.tokens * outputs,
            inputs * outputs,
        );
        LeastWork {
            name: "products",
            bytes: 2.0 * self.factor * (x + y + weight) + forward * y + backward * x + 4.0 * weight,
            flops: 6.0 * self.tokens * weight,
        }
    }

    /// Returns the work of an RMSNorm in both directions, with the residual's gradient added in the backward pass.
    fn norm(&self, residual: f64) -> f64 {
        let x = self.tokens * self.hidden;
        (4.0 + self.factor) * x + (12.0 + 4.0 * residual) * x
    }

    fn attention(&self, config: &ModelConfig, sequence: usize) -> Vec<LeastWork> {
        let (joined, queries) = (self.tokens * self.joined, self.tokens * self.queries);
        let x = self.tokens * self.hidden;
        let (log_sums, factor) = (
            4.0 * self.tokens * config.num_attention_heads as f64,
            self.factor,
        );
        let forward: f64 = (0..config.num_hidden_layers)
            .map(|layer| config.attention_flops(layer, sequence))
            .sum();
        let inner = self.products(self.hidden, self.joined, [4.0, 4.0]);
        // The residual is read for the sum; the gradient by the mixed heads is a factor.
        let outer = self.products(self.queries, self.hidden, [8.0, factor]);
        vec![
            self.layered("norms", self.norm(1.0), 0.0),
            self.layered(
                "weights to factors",
                self.cast * (self.hidden * self.joined + self.queries * self.hidden),
                0.0,
            ),
            self.layered("gradients to factors", (4.0 + factor) * x, 0.0),
            self.layered(
                "products",
                inner.bytes + outer.bytes,
                inner.flops + outer.flops,
            ),
            self.layered("rotary positions", (4.0 + 3.0 * factor) * joined, 0.0),
            LeastWork {
                name: "attention, forward",
                bytes: self.layers * (factor * (joined + queries) + log_sums),
                flops: self.tokens * forward,
            },
            LeastWork {
                name: "attention, backward",
                bytes: self.layers * (factor * (2.0 * joined + 2.0 * queries) + log_sums),
                // Scores again, and four products for the gradients.
                flops: 2.5 * self.tokens * forward,
            },
        ]
    }

    fn feed_forward(&self) -> Vec<LeastWork> {
        let (x, factor) = (self.tokens * self.hidden, self.factor);
        let (sides, inner) = (self.tokens * self.sides, self.tokens * self.inner);
        let first = self.products(self.hidden, self.sides, [4.0, 4.0]);
        let second = self.products(self.inner, self.hidden, [8.0, 4.0]);
        let weights = self.hidden * (self.sides + self.inner);
        vec![
            self.layered("norms", self.norm(1.0), 0.0),
            self.layered("weights to factors", self.cast * weights, 0.0),
            self.layered("gradients to factors", (4.0 + factor) * x, 0.0),
            self.layered(
                "products",
                first.bytes + second.bytes,
                first.flops + second.flops,
            ),
            self.layered(
                "activations",
                (4.0 + factor) * sides + factor * inner // forward, with what is kept
                    + 2.0 * factor * sides + (4.0 + factor) * inner,
                0.0,
            ),
        ]
    }

    /// Returns the work outside of the layers: embedding, last norm, loss, optimizer.
    fn ends(&self, config: &ModelConfig) -> Vec<LeastWork> {
        let (x, table) = (self.tokens * self.hidden, self.vocabulary * self.hidden);
        let logits = self.tokens * self.vocabulary;
        let parameters = config.parameter_count() as f64;
        let work = |name, bytes, flops| LeastWork { name, bytes, flops };
        vec![
            work("embedding", 8.0 * x + 4.0 * x + 4.0 * table, 0.0),
            work("norms", self.norm(0.0), 0.0),
            work("weights to factors", self.cast * table, 0.0),
            self.products(self.hidden, self.vocabulary, [4.0, 4.0]),
            work("cross-entropy", (4.0 + self.factor) * logits, 0.0),
            work("gradient norm", 4.0 * parameters, 0.0),
            work("AdamW", 28.0 * parameters, 0.0),
        ]
    }

    /// Returns an operation that every layer has.
    fn layered(&self, name: &'static str, bytes: f64, flops: f64) -> LeastWork {
        LeastWork {
            name,
            bytes: self.layers * bytes,
            flops: self.layers * flops,
        }
    }
}

#[cfg(test)]
mod tests {
    use polymath_model::{ArchitectureConfig, EndTokens};

    use super::*;

    /// Returns the least work of a step of 3 rows of 4 tokens.
    fn work(layers: usize, precision: Precision) -> Vec<LeastWork> {
        let shape = serde_json::json!({
            "hidden_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
            "intermediate_size": 16
        });
        let shape: ArchitectureConfig = serde_json::from_value(shape).unwrap();
        let config = shape
            .resolve(32, 4, EndTokens { begin: 0, end: 0 })
            .unwrap();
        let shape = StepShape {
            rows: 3,
            sequence: 4,
            precision,
        };
        least_work(&config, shape)
    }

    fn sum(work: &[LeastWork], of: fn(&LeastWork) -> f64) -> f64 {
        work.iter().map(of).sum()
    }

    /// Checks the operations by hand: six for each weight of a product and each token, and seven times the attention's
    /// products with half of the keys.
    #[test]
    fn operations_are_those_of_the_shape() {
        // Queries, keys and values; their output; the three of the feed-forward.
        let weights = 8 * 16 + 8 * 8 + 3 * 8 * 16;
        for layers in [1, 2, 5] {
            let products = 6 * 12 * (layers * weights + 8 * 32);
            let attention = 7 * 12 * layers * (2 * 8 * 2);
            for precision in [Precision::F32, Precision::Bf16] {
                let found = sum(&work(layers, precision), |work| work.flops);
                assert_eq!(found, (products + attention) as f64, "{layers} layers");
            }
        }
    }

    /// Checks that each layer moves as many bytes as another, fewer with factors of half the size, and that what lies
    /// outside of the layers is counted once.
    #[test]
    fn layers_move_the_same_bytes() {
        let bytes = |layers, precision| sum(&work(layers, precision), |work| work.bytes);
        let f32 = |layers| bytes(layers, Precision::F32);
        let (first, second, third) = (f32(1), f32(2), f32(3));
        assert!((third - second - (second - first)).abs() < 1e-6);
        let outside = 2.0 * first - second;
        assert!(outside > 0.0 && outside < first, "{outside} of {first}");
        let named = |layers: usize, name: &str| {
            let all = work(layers, Precision::F32).into_iter();
            let of: Vec<f64> = all
                .filter(|work| work.name == name)
                .map(|work| work.bytes)
                .collect();
            of.iter().sum::<f64>()
        };
        // For each of 12 tokens, a row of the table is read and written and its gradient read; then the gradient of the
        // table.
        assert_eq!(named(1, "embedding"), (12 * 12 * 8 + 4 * 32 * 8) as f64);
        for name in [
            "attention, forward",
            "attention, backward",
            "rotary positions",
            "activations",
        ] {
            assert!(named(1, name) > 0.0, "{name}");
            assert_eq!(named(2, name), 2.0 * named(1, name), "{name}");
        }
    }

    /// Checks the bytes of every operation by hand, for 12 tokens of width 8, 16 joined heads, sides of 32 and 856
    /// parameters: with factors of 4 bytes, and of 2 that weights are cast to.
    #[test]
    fn bytes_are_those_of_the_operands() {
        let expected = [
            ("norms", 2304, 2112),
            ("weights to factors", 0, 1152),
            ("gradients to factors", 768, 576),
            ("products", 4992 + 3456, 3328 + 2240),
            ("rotary positions", 3072, 1920),
            ("attention, forward", 1248, 672),
            ("attention, backward", 2400, 1248),
            ("norms", 2304, 2112),
            ("weights to factors", 0, 2304),
            ("gradients to factors", 768, 576),
            ("products", 8832 + 5376, 5888 + 3712),
            ("activations", 8448, 5376),
            ("embedding", 2176, 2176),
            ("norms", 1920, 1728),
            ("weights to factors", 0, 1536),
            ("products", 8832, 5888),
            ("cross-entropy", 3072, 2304),
            ("gradient norm", 3424, 3424),
            ("AdamW", 23_968, 23_968),
        ];
        let found = |precision| -> Vec<(&str, i64)> {
            let all = work(1, precision).into_iter();
            all.map(|work| (work.name, work.bytes as i64)).collect()
        };
        let wide = expected.map(|(name, bytes, _)| (name, bytes));
        let narrow = expected.map(|(name, _, bytes)| (name, bytes));
        assert_eq!(found(Precision::F32), wide);
        assert_eq!(found(Precision::Tf32), wide);
        assert_eq!(found(Precision::Bf16), narrow);
    }

    /// Checks the time of work on a GPU: that of its bytes or of its operations, whichever is longer, at the rate of
    /// the number type.
    #[test]
    fn work_takes_the_longer_of_its_times() {
        let gpu = Gpu {
            name: "made up",
            bandwidth: 100.0,
            bf16: 40.0,
            tf32: 20.0,
            f32: 10.0,
            source: "",
        };
        assert_eq!(gpu.seconds(1000.0, 40.0, Unit::Bf16), 10.0);
        for (unit, seconds) in [(Unit::Bf16, 20.0), (Unit::Tf32, 40.0), (Unit::F32, 80.0)] {
            assert_eq!(gpu.seconds(1000.0, 800.0, unit), seconds, "{unit:?}");
        }
    }
}
