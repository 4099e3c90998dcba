#!/bin/sh
# Brings a pipeline to the cluster that kubectl's current context names.
# usage: deploy.sh DOCUMENT OVERLAY [SECONDS BETWEEN TICKS]   (without seconds: Argo, once a minute)
set -eu
cd "$(dirname "$0")/.."
spec=${1:?pipeline document} overlay=${2:-standard} watch_s=${3:-}
penstock=${PENSTOCK:-.venv/bin/penstock}
wait_s=${WAIT_S:-180}

say() { echo "penstock: $*" >&2; }
random() { LC_ALL=C tr -dc A-Za-z0-9 </dev/urandom | head -c "$1"; }

make_key() { # the store's, random, made once and only in the cluster
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

$penstock check-cluster "$spec" --overlay "$overlay" ${watch_s:+--watch "$watch_s"}
tree=$($penstock deployment "$spec" --overlay "$overlay" ${watch_s:+--watch "$watch_s"} | tail -1)
namespace=$(sed -n 's/^namespace: //p' "$tree/kustomization.yaml")
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
[ "$overlay" != dev ] || make_key

# The other way to run the tick goes, if that was deployed before: the two would decide by turns.
if [ -n "$watch_s" ]; then loop=watch other=cronworkflows.argoproj.io; else loop=cron other=deployments.apps; fi
name=$(sed -n 's/^  name: //p' "$tree/pipeline/$loop.yaml" | head -1)
if kubectl api-resources -o name | grep -qx "$other"; then
    kubectl -n "$namespace" delete "$other" "$name" --ignore-not-found
fi

kubectl apply -k "$tree"
workloads=$(kubectl -n "$namespace" get deployments -o name -l 'penstock.dev/role in (gateway,tick)')
for workload in $workloads; do
    kubectl -n "$namespace" rollout status "$workload" --timeout="${wait_s}s"
done
say "the first tick applies the first plan; see how it goes: make status"
