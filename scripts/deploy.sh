#!/bin/sh
# Brings a pipeline to the cluster that kubectl's current context names, or takes it away again.
# usage: deploy.sh up DOCUMENT OVERLAY LOOP | deploy.sh down DOCUMENT
set -eu
cd "$(dirname "$0")/.."
action=${1:?up or down} spec=${2:?pipeline document} overlay=${3:-standard} loop=${4:-cron}
penstock=${PENSTOCK:-.venv/bin/penstock}
wait_s=${WAIT_S:-180}

say() { echo "penstock: $*" >&2; }
read_name() { sed -n 's/^namespace: //p' "$tree/kustomization.yaml"; }

# What the current document and settings give; the tree is written in any case, to know names by.
write_tree() {
    written=$($penstock deployment "$spec" --overlay "$overlay" --loop "$loop" | tail -1)
    tree=$(dirname "$written")
    [ "$(basename "$tree")" != pipeline ] || tree=$(dirname "$tree")
    namespace=$(read_name)
}

# The store's key: made once, with random values, and only in the cluster.
make_key() {
    kubectl -n "$namespace" get secret penstock-store >/dev/null 2>&1 && return
    say "making Secret penstock-store with a random key"
    kubectl -n "$namespace" create secret generic penstock-store \
        --from-literal=AWS_ACCESS_KEY_ID="$(random 16)" \
        --from-literal=AWS_SECRET_ACCESS_KEY="$(random 40)" --dry-run=client -o yaml |
        kubectl annotate --local -f - -o yaml \
            serving.kserve.io/s3-endpoint="penstock-minio.$namespace:9000" \
            serving.kserve.io/s3-usehttps=0 serving.kserve.io/s3-region=us-east-1 |
        kubectl apply -f -
}
random() { LC_ALL=C tr -dc A-Za-z0-9 </dev/urandom | head -c "$1"; }

up() {
    $penstock check-cluster "$spec" --overlay "$overlay" --loop "$loop"
    write_tree
    kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
    [ "$overlay" != dev ] || make_key
    kubectl apply -k "$tree"
    # The other way to run the tick, if that was deployed before: two would decide by turns.
    name=$(sed -n 's/^  name: //p' "$tree/pipeline/$loop.yaml" | head -1)
    if [ "$loop" = cron ]; then other=deployment; else other=cronworkflow; fi
    kubectl -n "$namespace" delete "$other" "$name" --ignore-not-found 2>/dev/null || true
    for workload in $(kubectl -n "$namespace" get deployment -o name -l 'penstock.dev/role in (gateway,tick)'); do
        kubectl -n "$namespace" rollout status "$workload" --timeout="${wait_s}s"
    done
    say "the first tick applies the first plan; see how it goes with: make status"
}

down() {
    write_tree
    kubectl delete -k "$tree/pipeline" --ignore-not-found --wait
    $penstock remove "$spec" --cluster kubernetes
}

case $action in
up) up ;;
down) down ;;
*) say "up or down, got $action"; exit 2 ;;
esac
