{{/* Pieces of the NetworkPolicies. */}}

{{- define "coatcheck.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "coatcheck.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "coatcheck.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}

{{/* A rule of egress. Takes {to, ports}. */}}
{{- define "coatcheck.egressTo" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "coatcheck.egressDns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "coatcheck.egressMongodb" -}}
{{- include "coatcheck.egressTo" .Values.networkPolicy.mongodb }}
{{- end }}

{{/* Kafka's ports: the ones listed, and those of the bootstrap servers. */}}
{{- define "coatcheck.egressKafka" -}}
{{- $ports := .Values.networkPolicy.kafka.ports }}
{{- range splitList "," .Values.kafka.bootstrapServers }}
{{- $ports = append $ports (splitList ":" (trim .) | last | int) }}
{{- end }}
{{- include "coatcheck.egressTo" (dict "to" .Values.networkPolicy.kafka.to "ports" (include "coatcheck.unique" $ports | fromJsonArray)) }}
{{- end }}

{{- define "coatcheck.egressProviders" -}}
{{- $ports := .Values.networkPolicy.providers.ports }}
{{- range $provider := .Values.providers }}
{{- $settings := $provider.settings | default dict }}
{{- range $url := concat (list ($settings.base_url | default "") ($settings.proxy | default "")) (values ($settings.paths | default dict)) }}
{{- if regexMatch "^https?://" $url }}
{{- $given := regexFind ":[0-9]+$" (urlParse $url).host | trimPrefix ":" }}
{{- $ports = append $ports ($given | default (hasPrefix "http://" $url | ternary "80" "443") | int) }}
{{- end }}
{{- end }}
{{- end }}
{{- $to := .Values.networkPolicy.providers.to }}
{{- if not $to }}
{{- $v4 := list }}
{{- $v6 := list }}
{{- range .Values.networkPolicy.providers.except }}
{{- if contains ":" . }}{{ $v6 = append $v6 . }}{{ else }}{{ $v4 = append $v4 . }}{{ end }}
{{- end }}
{{- $to = list (dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" $v4)) (dict "ipBlock" (dict "cidr" "::/0" "except" $v6)) }}
{{- end }}
{{- include "coatcheck.egressTo" (dict "to" $to "ports" (include "coatcheck.unique" $ports | fromJsonArray)) }}
{{- end }}

{{- define "coatcheck.unique" -}}
{{- $seen := list }}
{{- range . }}{{ $seen = append $seen (int .) }}{{ end }}
{{- $seen | uniq | toJson }}
{{- end }}

{{- define "coatcheck.egressExtra" -}}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A rule of ingress. Takes {from, port}. */}}
{{- define "coatcheck.ingressOn" -}}
- ports:
    - {protocol: TCP, port: {{ .port }}}
  {{- with .from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "coatcheck.ingressAdmin" -}}
{{- $everybody := list (dict "namespaceSelector" dict) }}
{{- include "coatcheck.ingressOn" (dict "port" .Values.ports.admin "from" (.Values.networkPolicy.adminFrom | default $everybody)) }}
{{- end }}
