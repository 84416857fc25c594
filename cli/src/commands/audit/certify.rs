//! `tipline audit certify`

use std::path::{Path, PathBuf};

use tipline_audit::AuditError;
use tipline_audit::tlog::{BadCertificate, Certificate, Policy};
use tipline_audit::tree::{TreeError, certify};
use tipline_log::{check_trusted_file, error_chain};
use tipline_ops::text::number;

use super::read::read;
use super::tree::TreeArgs;
use crate::exit::Exit;
use crate::output::file::Output;
use crate::output::report::{Failure, Sentence};

/// A larger file is no policy.
const MAX_BYTES: u64 = 1 << 20;

/// Options of `tipline audit certify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline audit certify --archive s3://backup/mainnet --policy mainnet.policy -o today.certificate
  tipline audit check today.certificate --policy mainnet.policy

A certificate says which entries are durable where, and when that was found: it has the newest
checkpoint that the policy accepts, with its cosignatures, and the policy itself. Whoever cosigned with
a key from tipline keys new --mirror had read all of it back by then, within --read-back-every of
tipline audit witness. It is checked with the policy and nothing else.
Exit code 11 if the quorum of the policy has not cosigned yet, 2 if nothing is signed.")]
pub(super) struct CertifyArgs {
    #[command(flatten)]
    tree: TreeArgs,

    /// File with the policy: which log, who cosigns, how many of them (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// Write into this new file; standard output by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(args: CertifyArgs) -> Result<Exit, Failure> {
    Output::check(args.output.as_deref())?;
    let policy = policy_text(&args.policy)?;
    let open = args.tree.open(args.tree.keys()?).await?;
    let certificate = certify(&open.place, &policy).await.map_err(AuditError::from)?;
    let mut out = Output::create(args.output.as_deref())?;
    out.write(certificate.to_string().as_bytes())?;
    out.finish()?;
    if let Some(output) = args.output {
        let size = number(certificate.checkpoint().size);
        tracing::info!("wrote a certificate of entries 1 to {size} to {}", output.display());
    }
    Ok(Exit::Ok)
}

/// The text of a policy, which is one.
pub(super) fn policy_text(path: &Path) -> Result<String, Failure> {
    check_trusted_file(path).map_err(|error| Sentence(error_chain(&error)))?;
    let text = read(path, MAX_BYTES)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let wrong = || {
        Failure::from(Sentence(format!(
            "{} is no policy: it is no text, or too long",
            path.display()
        )))
    };
    let text = text.ok_or_else(wrong)?;
    match text.parse::<Policy>() {
        Ok(_) => Ok(text),
        Err(error) => {
            let error = TreeError::from(BadCertificate::from(error));
            Err(Failure::from(AuditError::from(error)).list([path.display().to_string()]))
        }
    }
}

/// Checks the text of a certificate.
pub(super) fn check(text: &str, policy: &str) -> Result<Certificate, Failure> {
    let checked = Certificate::check(text, policy).map_err(TreeError::from);
    Ok(checked.map_err(AuditError::from)?)
}
