//! Kernels and the files that they come from.

use super::counts::Unit;

/// File of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub name: &'static str,
    pub text: &'static str,
}

/// Kernel of a file, compiled for heads of `head_dim` elements; 0 if it is not about heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub source: &'static Source,
    pub name: &'static str,
    pub head_dim: usize,
}

macro_rules! sources {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) static $name: Source = Source {
            name: $file,
            text: include_str!(concat!("../../kernels/", $file)),
        };)*
    };
}

sources! {
    ACTIVATION = "activation.cu";
    ADAMW = "adamw.cu";
    ATTENTION_BACKWARD = "attention_backward.cu";
    ATTENTION_F32 = "attention_f32.cu";
    ATTENTION_FORWARD = "attention_forward.cu";
    CAST = "cast.cu";
    DROPOUT = "dropout.cu";
    EMBEDDING = "embedding.cu";
    LOSS = "loss.cu";
    MUON = "muon.cu";
    NORM = "norm.cu";
    REDUCE = "reduce.cu";
    ROPE = "rope.cu";
}

impl Kernel {
    /// Returns the unit of its multiply-adds.
    pub fn unit(&self) -> Unit {
        match self.name.ends_with("_f32") {
            true => Unit::F32,
            false => Unit::Bf16,
        }
    }
}

impl Source {
    /// Returns a kernel of this file that is not about heads.
    pub const fn kernel(&'static self, name: &'static str) -> Kernel {
        self.kernel_of_heads(name, 0)
    }

    /// Returns a kernel of this file for heads of `head_dim` elements.
    pub const fn kernel_of_heads(&'static self, name: &'static str, head_dim: usize) -> Kernel {
        Kernel {
            source: self,
            name,
            head_dim,
        }
    }

    /// Returns the text with the headers in place of their `#include` lines, each once, for a compiler that sees no
    /// files.
    #[cfg(any(test, feature = "cuda"))]
    pub fn whole(&self) -> String {
        const DEVICE: &str = include_str!("../../kernels/device.h");
        const ATTENTION: &str = include_str!("../../kernels/attention.h");
        let mut text = String::from(DEVICE);
        if self.text.contains("#include \"attention.h\"") {
            text += ATTENTION;
        }
        text += self.text;
        let lines = text.lines();
        let own = lines.filter(|line| {
            let header = line.starts_with("#include \"") && !line.contains("emulate.h");
            !header && *line != "#pragma once"
        });
        own.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the text for NVRTC includes no file and contains each header once.
    #[test]
    fn whole_sources_stand_alone() {
        for source in [
            &ATTENTION_FORWARD,
            &ATTENTION_BACKWARD,
            &ATTENTION_F32,
            &NORM,
        ] {
            let whole = source.whole();
            let includes = whole.lines().filter(|line| line.starts_with("#include"));
            assert_eq!(includes.collect::<Vec<_>>(), ["#include \"emulate.h\""]);
            assert_eq!(whole.matches("DEVICE float sum_of_warp").count(), 1);
            let tiles = usize::from(source.text.contains("attention.h"));
            assert_eq!(whole.matches("void copy_tile(").count(), tiles);
        }
    }
}
