process RNAFM_EMBED {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "rnafm:0.1.0"

    input:
    tuple val(meta), path(fasta)

    output:
    tuple val(meta), path("*.h5"), emit: h5
    path "versions.yml", emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    rnafm embed ${fasta} \\
        --threads ${task.cpus} \\
        --h5 ${prefix}.h5 \\
        $args

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        rnafm: \$(rnafm --version | sed 's/^rnafm //')
    END_VERSIONS
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.h5

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        rnafm: \$(rnafm --version | sed 's/^rnafm //')
    END_VERSIONS
    """
}
