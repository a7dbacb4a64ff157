{{/* What all pods have in common. Takes {root, component, values, and worker for a worker}. */}}

{{/* Variables that every command needs: the database, the broker, logs. */}}
{{- define "coatcheck.connectionEnv" -}}
{{- with .root.Values.mongodb }}
{{- if .existingSecret }}
- name: COATCHECK_MONGODB_URI_FILE
  value: /etc/coatcheck/mongodb/uri
{{- else }}
- name: COATCHECK_MONGODB_URI
  value: {{ .uri | quote }}
{{- end }}
- name: COATCHECK_MONGODB_DATABASE
  value: {{ .database | quote }}
{{- end }}
{{- with .root.Values.kafka }}
- name: COATCHECK_KAFKA_BOOTSTRAP_SERVERS
  value: {{ .bootstrapServers | quote }}
- name: COATCHECK_KAFKA_SECURITY_PROTOCOL
  value: {{ .securityProtocol | quote }}
{{- if .saslMechanism }}
- name: COATCHECK_KAFKA_SASL_MECHANISM
  value: {{ .saslMechanism | quote }}
- name: COATCHECK_KAFKA_SASL_USERNAME
  value: {{ .saslUsername | quote }}
- name: COATCHECK_KAFKA_SASL_PASSWORD_FILE
  value: /etc/coatcheck/kafka/password
{{- end }}
{{- if .tls.existingSecret }}
- name: COATCHECK_KAFKA_SSL_CAFILE
  value: /etc/coatcheck/kafka-tls/ca.crt
{{- end }}
- name: COATCHECK_KAFKA_TOPIC_PREFIX
  value: {{ .prefix | quote }}
- name: COATCHECK_KAFKA_GROUP_PREFIX
  value: {{ .prefix | quote }}
{{- end }}
{{- range $name, $value := .root.Values.settings }}
- name: COATCHECK_{{ upper $name }}
  value: {{ include "coatcheck.plain" $value | quote }}
{{- end }}
{{- if not (hasKey .root.Values.settings "log_format") }}
- name: COATCHECK_LOG_FORMAT
  value: json
{{- end }}
{{- end }}

{{/* Variables of a component that listens. */}}
{{- define "coatcheck.listenEnv" -}}
{{- if .root.Values.statusPage.existingSecret }}
- name: COATCHECK_ADMIN_TOKEN_FILE
  value: /etc/coatcheck/status-page/token
{{- end }}
- name: COATCHECK_ADMIN_HOST
  value: {{ .root.Values.listenAddress | quote }}
- name: COATCHECK_ADMIN_PORT
  value: {{ .root.Values.ports.admin | quote }}
{{- end }}

{{/* Yours come last, so that they win. */}}
{{- define "coatcheck.extraEnv" -}}
{{- with concat .root.Values.extraEnv .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coatcheck.envFrom" -}}
{{- with concat .root.Values.extraEnvFrom .values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "coatcheck.containerBasics" -}}
image: {{ include "coatcheck.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end }}

{{/* Mounts of the Secrets and, with `config`, of the providers' table. */}}
{{- define "coatcheck.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.mongodb.existingSecret }}
- name: mongodb
  mountPath: /etc/coatcheck/mongodb
  readOnly: true
{{- end }}
{{- if .root.Values.mongodb.tls.existingSecret }}
- name: mongodb-tls
  mountPath: /etc/coatcheck/mongodb-tls
  readOnly: true
{{- end }}
{{- if .root.Values.kafka.existingSecret }}
- name: kafka
  mountPath: /etc/coatcheck/kafka
  readOnly: true
{{- end }}
{{- if .root.Values.kafka.tls.existingSecret }}
- name: kafka-tls
  mountPath: /etc/coatcheck/kafka-tls
  readOnly: true
{{- end }}
{{- if and .root.Values.statusPage.existingSecret (has .component (list "edge" "worker" "reaper")) }}
- name: status-page
  mountPath: /etc/coatcheck/status-page
  readOnly: true
{{- end }}
{{- if .config }}
- name: config
  mountPath: /etc/coatcheck/config
  readOnly: true
{{- end }}
{{- if and (eq .component "worker") (include "coatcheck.providerSecrets" .root) }}
- name: providers
  mountPath: /etc/coatcheck/providers
  readOnly: true
{{- end }}
{{- with concat .root.Values.extraVolumeMounts (.values.extraVolumeMounts | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coatcheck.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .root.Values.tmpSizeLimit }}
{{- with .root.Values.mongodb }}
{{- if .existingSecret }}
- name: mongodb
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: uri
{{- end }}
{{- if .tls.existingSecret }}
- name: mongodb-tls
  secret:
    secretName: {{ .tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- with .root.Values.kafka }}
{{- if .existingSecret }}
- name: kafka
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: password
{{- end }}
{{- if .tls.existingSecret }}
- name: kafka-tls
  secret:
    secretName: {{ .tls.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .tls.existingSecretKey }}
        path: ca.crt
{{- end }}
{{- end }}
{{- if has .component (list "edge" "worker" "reaper") }}
{{- with .root.Values.statusPage }}
{{- if .existingSecret }}
- name: status-page
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: token
{{- end }}
{{- end }}
{{- end }}
{{- if .config }}
- name: config
  configMap:
    name: {{ include "coatcheck.fullname" .root }}
    items:
      - key: {{ .config }}
        path: coatcheck.toml
{{- end }}
{{- if eq .component "worker" }}
{{- with include "coatcheck.providerSecrets" .root }}
- name: providers
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- end }}
{{- with concat .root.Values.extraVolumes (.values.extraVolumes | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coatcheck.providerSecrets" -}}
{{- range $name, $provider := .Values.providers }}
{{- if $provider.existingSecret }}
- secret:
    name: {{ $provider.existingSecret }}
    items:
      - key: {{ $provider.existingSecretKey | default "api-key" }}
        path: {{ $name }}
{{- end }}
{{- end }}
{{- end }}

{{/* Everything of a pod's spec that is not a container or a volume. */}}
{{- define "coatcheck.podBasics" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
{{- /* A Service called coatcheck would give pods COATCHECK_PORT=tcp://..., which is a setting of ours. */}}
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .values.priorityClassName | default .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName | default .root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.dnsPolicy | default .root.Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .values.dnsConfig | default .root.Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (.root.Values.hostAliases | default list) (.values.hostAliases | default list) }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (.root.Values.extraInitContainers | default list) (.values.extraInitContainers | default list) }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "coatcheck.spread" -}}
{{- if kindIs "slice" .values.topologySpreadConstraints }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "coatcheck.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* Containers of yours beside ours, which comes first. Not in Jobs and tests: they would never end. */}}
{{- define "coatcheck.extraContainers" -}}
{{- with concat (.root.Values.extraContainers | default list) (.values.extraContainers | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of a pod template, without the chart's version, whose changes alone are no reason to restart. The checksums
restart pods when the providers' table changes, or a Secret among the extra objects. */}}
{{- define "coatcheck.podMetadata" -}}
labels:
  {{- include "coatcheck.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: coatcheck
  {{- with merge (dict) .values.podLabels .root.Values.podLabels .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) .values.podAnnotations .root.Values.podAnnotations }}
{{- if .config }}
{{- $_ := set $annotations "checksum/config" (include "coatcheck.config" .root | sha256sum) }}
{{- end }}
{{- with include "coatcheck.extraSecrets" .root }}
{{- $_ := set $annotations "checksum/secrets" (sha256sum .) }}
{{- end }}
{{- with .root.Values.secretsRevision }}
{{- $_ := set $annotations "coatcheck/secrets-revision" . }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "coatcheck.extraSecrets" -}}
{{- range .Values.extraObjects }}
{{- $text := tpl (kindIs "string" . | ternary . (toYaml .)) $ }}
{{- if regexMatch `(?m)^kind: *["']?Secret["']? *$` $text }}
{{- $text }}
{{- end }}
{{- end }}
{{- end }}

{{/* metadata of a Deployment. */}}
{{- define "coatcheck.deploymentMetadata" -}}
{{- $annotations := merge (dict) (.values.deploymentAnnotations | default dict) (.root.Values.deploymentAnnotations | default dict) }}
{{- include "coatcheck.metadata" (merge (dict "annotations" $annotations) .) }}
{{- end }}

{{- define "coatcheck.revisionHistoryLimit" -}}
{{- if kindIs "invalid" .Values.revisionHistoryLimit }}5{{ else }}{{ int64 .Values.revisionHistoryLimit }}{{ end }}
{{- end }}

{{- define "coatcheck.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "coatcheck.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  {{- /* A pod that is not ready protects nobody, and must not keep a node from being drained. */}}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "coatcheck.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* Probes of what waits for MongoDB at its start, for an hour if need be: until it runs, liveness does not count. */}}
{{- define "coatcheck.lateProbes" -}}
startupProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 1900
# Only whether the event loop turns: an outage of MongoDB or Kafka must not restart the fleet.
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}
