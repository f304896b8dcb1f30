//! A Llama of a given size with random weights, written to disk without being in memory as a whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use polymath_model::{ArchitectureConfig, EndTokens, ModelConfig};
use serde_json::json;

/// Shape of the model to write.
pub struct RandomModel {
    pub config: ModelConfig,
}

impl RandomModel {
    /// Creates a model of about the given size in f32.
    pub fn of_megabytes(megabytes: usize) -> Self {
        let width = 512;
        // A block has 4·width² parameters in attention and 3·width·4·width in the feed-forward part.
        let block = 16 * width * width * 4;
        let vocabulary = 16_000;
        let blocks = (megabytes * 1_000_000).saturating_sub(vocabulary * width * 4) / block;
        let architecture = ArchitectureConfig {
            sliding_window: None,
            hidden_size: width,
            num_hidden_layers: blocks.max(1),
            num_attention_heads: 8,
            num_key_value_heads: None,
            head_dim: None,
            intermediate_size: Some(4 * width),
            max_position_embeddings: Some(128),
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-5,
            qk_norm: false,
            tie_word_embeddings: true,
            initializer_range: None,
        };
        let config = architecture
            .resolve(vocabulary, 128, EndTokens { begin: 0, end: 0 })
            .unwrap();
        Self { config }
    }

    /// Writes `config.json` and `model.safetensors` with weights of this type (`F32`, `BF16` or `F16`) into a new
    /// folder.
    pub fn write(&self, folder: &Path, data_type: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("config.json"), self.config.to_json())?;
        let width = if data_type == "F32" { 4 } else { 2 };
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (name, shape) in self.config.parameter_shapes() {
            let begin = end;
            end += width * shape.iter().product::<usize>();
            let entry = json!({ "dtype": data_type, "shape": shape, "data_offsets": [begin, end] });
            header.insert(name, entry);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut out = BufWriter::new(File::create(folder.join("model.safetensors"))?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        let mut state = 1u64;
        let mut stretch = vec![0u8; 1 << 16];
        while end > 0 {
            let length = end.min(stretch.len());
            for value in stretch[..length].chunks_exact_mut(width) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Values are between 2⁻⁷ and 2⁻⁵ in every type: the exponent is fixed, and sign and fraction are
                // random.
                let drawn = (state >> 48) as u16;
                match data_type {
                    "F16" => value.copy_from_slice(&(drawn & 0x87ff | 0x2000).to_le_bytes()),
                    "BF16" => value.copy_from_slice(&(drawn & 0x80ff | 0x3c00).to_le_bytes()),
                    _ => value
                        .copy_from_slice(&(u32::from(drawn & 0x80ff | 0x3c00) << 16).to_le_bytes()),
                }
            }
            out.write_all(&stretch[..length])?;
            end -= length;
        }
        out.flush()
    }
}
