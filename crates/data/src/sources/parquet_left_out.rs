//! Parquet files in a build that can't read them: an error that says how to build it in.

pub(crate) mod file {
    use std::path::Path;

    use crate::DataError;
    use crate::sources::document::Each;
    use crate::sources::record::Records;

    /// A file that can't be opened.
    pub(crate) enum ParquetFile {}

    impl ParquetFile {
        /// Fails: parquet is left out.
        pub(crate) fn open(path: &Path, _records: Records) -> Result<Self, DataError> {
            let mend = "is parquet, which this program was built without: build it with `--features parquet`";
            Err(DataError::content(path, mend))
        }

        pub(crate) fn read(
            &self,
            _records: Records,
            _watch: &dyn Fn(u64),
            _each: &mut Each,
        ) -> Result<(), DataError> {
            match *self {}
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_build_without_parquet_names_the_feature() {
            let opened = ParquetFile::open(Path::new("a.parquet"), Records::default());
            let error = opened
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                error.contains("a.parquet") && error.contains("`--features parquet`"),
                "{error}"
            );
        }
    }
}
