#!/bin/bash
# Runs inside LocalStack once it is ready: deploys the storage stack and prints what kakitome reads.
set -euo pipefail
template="${STORAGE_TEMPLATE:-/opt/kakitome/storage.yaml}"
stack=kakitome-storage

awslocal cloudformation deploy --template-file "$template" --stack-name "$stack" --capabilities CAPABILITY_IAM \
    --no-fail-on-empty-changeset --parameter-overrides MetricMathAlarms=false
echo "export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
awslocal cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='Environment'].OutputValue" | sed 's/^/export /'
