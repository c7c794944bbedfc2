from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=False, stderr=True)  # noqa: F821
extra = snakemake.params.get("extra", "")  # noqa: F821
output = snakemake.output[0]  # noqa: F821
shell("rnafm embed {snakemake.input} --output {output} --force --threads {snakemake.threads} {extra} {log}")
