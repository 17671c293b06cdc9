#!/usr/bin/env bash
# Verifies $RECEIPTS believing $TRUST; writes a table for the run's page, and fails as `og-integrations verify` does.
set -uo pipefail
case "$TRUST" in
  registry) believe=(--registry) ;;
  file-key) believe=(--trust-file-key) ;;
  0x*) believe=(--tee-id "$TRUST") ;;
  *) believe=(--measurements "$TRUST") ;;
esac
report="${RUNNER_TEMP:-.}/receipts.csv"
og-integrations verify "${believe[@]}" --csv -- "$RECEIPTS" > "$report"
code=$?
{
  echo "### OpenGradient receipts"
  echo '```text'
  og-integrations verify "${believe[@]}" --summary -- "$RECEIPTS" 2>&1
  echo '```'
} | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
echo "report=$report" >> "${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
