#!/usr/bin/env bash
# The workflow through workflow/profiles/slurm, on a Slurm of this machine alone (no accounting).
#
#   tests/slurm/run.sh                     the smoke configuration, a quarter of an hour on two cores
#   tests/slurm/run.sh --short             one learned schedule of it, three jobs one after the other
#   tests/slurm/run.sh TARGET...           any of its products
#
# Needs root and the packages slurm-wlm and munge.  One job is cancelled on its way: it must be submitted again
# by itself.  Products must have the bytes of a local run, and nothing may be left behind.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"

for program in slurmctld slurmd munged; do
    if ! command -v "$program" > /dev/null; then
        echo "Slurm run skipped: no $program here (apt-get install slurm-wlm munge)"
        exit 0
    fi
done
if [ "$(id -u)" != 0 ]; then
    echo "Slurm run skipped: it starts daemons, which needs root"
    exit 0
fi
mark="# written by tests/slurm/run.sh"
conf=/etc/slurm/slurm.conf # jobs of the plugin drop SLURM_CONF: it must lie there
if [ -e "$conf" ] && ! grep -q "$mark" "$conf"; then
    echo "Slurm run skipped: this machine has a Slurm of its own ($conf)"
    exit 0
fi

targets=("$@")
if [ "${1:-}" = --short ]; then
    targets=(results/smoke/toy/schedules/art_rl_feedback/any/K4.json)
fi
work="$(mktemp -d "${TMPDIR:-/tmp}/art_rl_slurm.XXXXXX")"
log="$work/log"
# A copy, so that an edit meanwhile does not run in half of the jobs.
mkdir -p "$work/repository"
cp -r "$root"/{src,workflow,config,notebooks,envs,constraints.txt} "$work/repository"
root="$work/repository"
cd "$root"
mkdir -p "$work"/{spool,state,run,log,local,cluster}

stop() {
    status=$?
    trap - EXIT
    scancel --user root > /dev/null 2>&1 || true
    for name in slurmd slurmctld munged; do
        if [ -s "$work/run/$name.pid" ]; then
            kill "$(cat "$work/run/$name.pid")" 2> /dev/null || true
        fi
    done
    rm -f "$conf"
    if [ "$status" = 0 ]; then
        rm -rf "$work"
    else
        echo "Slurm run failed; its logs are in $work"
    fi
    exit "$status"
}
trap stop EXIT

memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
host="$(hostname -s)"
mkdir -p "$(dirname "$conf")"
cat > "$conf" << END
$mark
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$work/run/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd.log
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
MinJobAge=600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END

# A key and a socket of its own: the machine's munge is left alone.
dd if=/dev/urandom of="$work/munge.key" bs=1 count=1024 2> /dev/null
chmod 600 "$work/munge.key"
chmod 755 "$work" "$work/run"
munged --force --key-file="$work/munge.key" --socket="$work/run/munge.socket" \
    --pid-file="$work/run/munged.pid" --log-file="$log/munged.log" --seed-file="$work/munge.seed"
slurmctld
slurmd -N "$host"
for _ in $(seq 30); do
    if sinfo --noheader -o %t 2> /dev/null | grep -q '^idle'; then break; fi
    sleep 1
done
sinfo

python=python
if ! python -c "import snakemake_executor_plugin_slurm" 2> /dev/null; then
    # Beside the packages that are there already.
    python -m venv "$work/venv"
    python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
        > "$work/venv/lib/$(python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/site-packages/beside.pth"
    "$work/venv/bin/pip" install --quiet -c constraints.txt snakemake-executor-plugin-slurm
    python="$work/venv/bin/python"
    export PATH="$work/venv/bin:$PATH"
fi
export PYTHONPATH="$root/src" OMP_NUM_THREADS=1

common=(-m snakemake --snakefile "$root/workflow/Snakefile" --configfile "$root/config/smoke.yaml")
cancel_one() {
    for _ in $(seq 600); do
        job="$(squeue --noheader --states running -o %i 2> /dev/null | head -n 1)"
        if [ -n "$job" ]; then
            scancel "$job"
            echo "$job" > "$work/cancelled"
            return
        fi
        sleep 0.2
    done
}
cancel_one &
# Shorter waits than on a real cluster, where they spare the controller.
"$python" "${common[@]}" --workflow-profile "$root/workflow/profiles/slurm" \
    --directory "$work/cluster" --slurm-init-seconds-before-status-checks 5 \
    --latency-wait 10 "${targets[@]}" > "$log/snakemake.log" 2>&1 || { tail -n 40 "$log/snakemake.log"; exit 1; }
wait
if [ ! -s "$work/cancelled" ]; then
    echo "no job was there to be cancelled"
    exit 1
fi
"$python" "${common[@]}" --workflow-profile "$root/workflow/profiles/default" --cores 2 \
    --directory "$work/local" "${targets[@]}" > "$log/local.log" 2>&1 || { tail -n 40 "$log/local.log"; exit 1; }

left="$(find "$work/cluster" -name '.tmp-*' -o -name 'state-*' -o -name '*.guard')"
if [ -n "$left" ]; then
    echo "left behind: $left"
    exit 1
fi
# Same bytes: schedules and cells; records of times differ from run to run.
count=0
while IFS= read -r path; do
    cmp "$work/local/$path" "$work/cluster/$path"
    count=$((count + 1))
done < <(cd "$work/local" && find results \( -path '*/schedules/*.json' -o -path '*/cells/*.csv' \) -type f)
if [ "$count" = 0 ]; then
    echo "nothing to compare"
    exit 1
fi
echo "Slurm run: $count products equal to a local run's, one job cancelled and submitted again"
