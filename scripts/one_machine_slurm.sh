#!/usr/bin/env bash
# A SLURM of this one machine, for tests/test_slurm.py: root, and `apt-get install slurm-wlm munge`.
# Usage: eval "$(scripts/one_machine_slurm.sh start)"    scripts/one_machine_slurm.sh stop
set -euo pipefail
folder=${TMPDIR:-/tmp}/one_machine_slurm

start() {
    mkdir -p "$folder/state" "$folder/spool" /run/munge
    chown munge: /run/munge
    munge -n > /dev/null 2>&1 || su -s /bin/sh munge -c munged
    cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Without control groups, which a container may not have.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
# A job in "urgent" takes the place of one in "normal", which gets SIGTERM and a minute.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# OMP_NUM_THREADS would be the answer of nproc.
NodeName=$(hostname -s) CPUs=$(env -u OMP_NUM_THREADS nproc) State=UNKNOWN
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
CONF
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -c > /dev/null 2>&1 # without the jobs of last time
    slurmd > /dev/null 2>&1
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --format=%t --partition=normal 2> /dev/null)" != idle ] || break
        sleep 0.1
    done
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    for daemon in slurmd slurmctld; do
        [ ! -e "$folder/$daemon.pid" ] || kill "$(cat "$folder/$daemon.pid")"
    done
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    *) sed -n 's/^# //p' "$0" | head -2 >&2; exit 2 ;;
esac
