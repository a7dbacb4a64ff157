{{/* Names and labels. Suffixes such as -worker-<name> fit into 63 characters. */}}

{{- define "coatcheck.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "coatcheck.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What selects pods: never changes over upgrades. Takes {root, component, worker (optional)}. */}}
{{- define "coatcheck.selectorLabels" -}}
app.kubernetes.io/name: {{ include "coatcheck.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .worker }}
coatcheck/worker: {{ . }}
{{- end }}
{{- end }}

{{- define "coatcheck.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "coatcheck.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: coatcheck
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object. Takes {root, component, worker, name, annotations (optional), labels (optional)}. */}}
{{- define "coatcheck.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "coatcheck.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "coatcheck.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The account of a component. Takes {root, name, values}. */}}
{{- define "coatcheck.serviceAccountName" -}}
{{- if .values.serviceAccount.create }}
{{- .values.serviceAccount.name | default .name }}
{{- else }}
{{- .values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* A number without the exponent and the point that YAML's numbers get on their way through Helm. */}}
{{- define "coatcheck.plain" -}}
{{- if kindIs "float64" . }}
{{- if eq (float64 (int64 .)) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else if kindIs "slice" . }}{{ join "," . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{- define "coatcheck.modalities" -}}
text,embeddings,audio,images,rerank,ocr
{{- end }}

{{/* The worker Deployments as YAML: {suffix: values}. `worker` fills what an entry of `workers` leaves open. */}}
{{- define "coatcheck.workers" -}}
{{- $found := dict }}
{{- range $name, $entry := .Values.workers }}
{{- if $entry }}
{{- $_ := set $found $name (include "coatcheck.over" (list $.Values.worker $entry) | fromYaml) }}
{{- end }}
{{- end }}
{{- if not $found }}
{{- $_ := set $found "unsplit" .Values.worker }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Nested maps, the second over the first; false, 0 and empty of the second count, which sprig's merges ignore. */}}
{{- define "coatcheck.over" -}}
{{- $result := deepCopy (index . 0) }}
{{- range $key, $value := index . 1 }}
{{- if and (kindIs "map" $value) (kindIs "map" (get $result $key)) (not (has $key (list "nodeSelector" "affinity"))) }}
{{- $_ := set $result $key (include "coatcheck.over" (list (get $result $key) $value) | fromYaml) }}
{{- else }}
{{- $_ := set $result $key $value }}
{{- end }}
{{- end }}
{{- toYaml $result }}
{{- end }}

{{- define "coatcheck.workerName" -}}
{{ include "coatcheck.fullname" .root }}-worker{{ if ne .worker "unsplit" }}-{{ .worker }}{{ end }}
{{- end }}

{{- define "coatcheck.selfTest" -}}
{{- if or (eq (toString .Values.selfTest.enabled) "true") (and (eq (toString .Values.selfTest.enabled) "auto") (not .Values.providers)) }}yes{{ end }}
{{- end }}
