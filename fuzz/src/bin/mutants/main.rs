//! `mutants`: reads altered files in a worker process that may crash, watched by a supervisor process that does not.

mod supervisor;
mod time;
mod worker;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use polymath_fuzz::mutation::{Random, mutate};
use polymath_fuzz::{FORMATS, Format, corpus, formats};

/// Alters valid files and reads them: no reader may panic, hang, or take more memory than the file needs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a valid file of every format into a new folder.
    Corpus {
        /// Folder to write.
        folder: PathBuf,
    },
    /// List the formats, each with its file.
    Formats,
    /// Read mutants of some formats, and print a table; exit code 1 if a reader failed.
    Run(supervisor::Run),
    /// Read mutants in this process; `run` starts it.
    Worker(Mutants),
    /// Write mutants into a folder, for other programs.
    Emit {
        #[command(flatten)]
        mutants: Mutants,
        /// Folder to write.
        #[arg(long)]
        into: PathBuf,
    },
}

/// Range of mutants of one format.
#[derive(Args, Clone)]
struct Mutants {
    /// Folder of valid files.
    #[arg(long)]
    corpus: PathBuf,
    /// Name of the format; `planted` fails on purpose.
    #[arg(long)]
    format: String,
    /// Seed of the alterations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// First mutant.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// End of the range, exclusive.
    #[arg(long)]
    to: u64,
}

impl Mutants {
    fn format(&self) -> anyhow::Result<&'static Format> {
        if self.format == worker::PLANTED.name {
            return Ok(&worker::PLANTED);
        }
        formats::named(&self.format).ok_or_else(|| {
            anyhow::anyhow!("`{}` is not a format: see `mutants formats`", self.format)
        })
    }

    /// Reads the valid file.
    fn sound(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.corpus.join(self.format()?.file))?)
    }

    fn bytes(&self, sound: &[u8], number: u64) -> anyhow::Result<Vec<u8>> {
        let mut random = Random::new(self.seed, number);
        Ok(mutate(sound, self.format()?.kind, &mut random))
    }
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Corpus { folder } => corpus::write(&folder),
        Command::Formats => {
            for format in &FORMATS {
                println!("{}\t{}", format.name, format.file);
            }
            Ok(())
        }
        Command::Run(run) => run.run(),
        Command::Worker(mutants) => worker::work(&mutants),
        Command::Emit { mutants, into } => {
            std::fs::create_dir_all(&into)?;
            let sound = mutants.sound()?;
            for number in mutants.from..mutants.to {
                let file = into.join(number.to_string());
                std::fs::write(file, mutants.bytes(&sound, number)?)?;
            }
            Ok(())
        }
    }
}
