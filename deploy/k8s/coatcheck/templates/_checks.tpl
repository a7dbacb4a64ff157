{{/* What cannot work is refused before anything is installed, with what to do about it. */}}
{{- define "coatcheck.checks" -}}
{{- $problems := list }}
{{- with .Values.mongodb }}
{{- if not (or .uri .existingSecret) }}
{{- $problems = append $problems "mongodb: set mongodb.existingSecret to a Secret whose key `uri` is the connection string of your replica set (or mongodb.uri to one without a password)" }}
{{- end }}
{{- if and .uri .existingSecret }}
{{- $problems = append $problems "mongodb: set mongodb.uri or mongodb.existingSecret, not both" }}
{{- end }}
{{- if contains "@" .uri }}
{{- $problems = append $problems "mongodb: mongodb.uri holds a user or password: put the connection string in a Secret and name it in mongodb.existingSecret" }}
{{- end }}
{{- end }}
{{- with .Values.kafka }}
{{- if not .bootstrapServers }}
{{- $problems = append $problems "kafka: set kafka.bootstrapServers to host:port of your brokers, comma separated" }}
{{- end }}
{{- $sasl := hasPrefix "SASL" .securityProtocol }}
{{- if and $sasl (not (and .saslMechanism .saslUsername .existingSecret)) }}
{{- $problems = append $problems (printf "kafka: %s needs kafka.saslMechanism, kafka.saslUsername and kafka.existingSecret" .securityProtocol) }}
{{- end }}
{{- if and (not $sasl) (or .saslMechanism .saslUsername .existingSecret) }}
{{- $problems = append $problems (printf "kafka: a SASL user is given, but kafka.securityProtocol is %s: set SASL_SSL or SASL_PLAINTEXT" .securityProtocol) }}
{{- end }}
{{- end }}
{{- $names := .Files.Get "files/names.json" | fromJson }}
{{- range $name := keys .Values.settings | sortAlpha }}
{{- with get $names.otherValues $name }}
{{- $problems = append $problems (printf "settings.%s: the chart has a value of its own for it: set %s" $name .) }}
{{- end }}
{{- end }}
{{- range $name, $provider := .Values.providers }}
{{- $settings := $provider.settings | default dict }}
{{- range $key := $names.keyFields }}
{{- if hasKey $settings $key }}
{{- $problems = append $problems (printf "providers.%s.settings.%s: a key comes from a Secret: name it in providers.%s.existingSecret" $name $key $name) }}
{{- end }}
{{- end }}
{{- $elsewhere := include "coatcheck.mayComeByVariable" (dict "root" $ "variable" (printf "%s_BASE_URL" (upper $name | replace "-" "_"))) }}
{{- $known := or (has $name $names.knownProviders) (has $settings.kind (list "local" "scripted")) }}
{{- if not (or $known $settings.base_url $elsewhere) }}
{{- $problems = append $problems (printf "providers.%s: its address is not known: set providers.%s.settings.base_url, or correct the name to one of %s" $name $name (join ", " $names.knownProviders)) }}
{{- end }}
{{- end }}
{{- with .Values.settings.default_provider }}
{{- $scripted := and (eq . "scripted") (include "coatcheck.selfTest" $) }}
{{- $local := and (eq . "local") $.Values.settings.local_models }}
{{- if not (or (hasKey $.Values.providers .) $scripted $local (include "coatcheck.mayComeByVariable" (dict "root" $ "variable" ""))) }}
{{- $problems = append $problems (printf "settings.default_provider: there is no provider %q: add it to providers, or name one of %s" . (keys $.Values.providers | sortAlpha | join ", " | default "them, once there is any")) }}
{{- end }}
{{- end }}
{{- if hasKey .Values.workers "unsplit" }}
{{- $problems = append $problems "workers.unsplit: the chart calls the only worker so: take another name" }}
{{- end }}
{{- $served := list }}
{{- range $name, $entry := include "coatcheck.workers" . | fromYaml }}
{{- $served = concat $served ($entry.modalities | default (include "coatcheck.modalities" $ | splitList ",")) }}
{{- if and $entry.keda.enabled (not $.Values.keda.serverAddress) }}
{{- $problems = append $problems "keda: a worker is scaled by KEDA, so set keda.serverAddress to the address of your Prometheus" }}
{{- end }}
{{- if and $entry.keda.enabled (gt (int $entry.keda.minReplicas) (int $entry.keda.maxReplicas)) }}
{{- $problems = append $problems (printf "keda: minReplicas of worker %q is above its maxReplicas" $name) }}
{{- end }}
{{- with $entry.autoscaling }}
{{- if and .enabled $entry.keda.enabled }}
{{- $problems = append $problems (printf "workers: %q is scaled by both keda and autoscaling: enable one" $name) }}
{{- end }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- $problems = append $problems (printf "workers: autoscaling.minReplicas of %q is above its autoscaling.maxReplicas" $name) }}
{{- end }}
{{- if and .enabled (not (or .targetCPUUtilizationPercentage .extraMetrics)) }}
{{- $problems = append $problems (printf "workers: autoscaling of %q needs targetCPUUtilizationPercentage or extraMetrics" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not .Values.allowUnservedModalities }}
{{- range $modality := include "coatcheck.modalities" . | splitList "," }}
{{- if not (has $modality $served) }}
{{- $problems = append $problems (printf "workers: nobody serves modality %q, so its jobs would wait: add it to an entry of workers, or set allowUnservedModalities=true" $modality) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.edge }}
{{- if and .ingress.enabled (not .ingress.hosts) }}
{{- $problems = append $problems "edge: edge.ingress.enabled needs edge.ingress.hosts" }}
{{- end }}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) }}
{{- $problems = append $problems "edge: edge.httpRoute.enabled needs edge.httpRoute.parentRefs" }}
{{- end }}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
{{- $problems = append $problems "edge: autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- if and .autoscaling.enabled (not (or .autoscaling.targetCPUUtilizationPercentage .autoscaling.extraMetrics)) }}
{{- $problems = append $problems "edge: autoscaling needs targetCPUUtilizationPercentage or extraMetrics" }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- $problems = append $problems "metrics: a ServiceMonitor needs metrics.service.enabled=true" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- $problems = append $problems "metrics: ServiceMonitor and PodMonitor together scrape everything twice: enable one" }}
{{- end }}
{{- with $problems }}
{{- fail (printf "\n%s" (join "\n" .)) }}
{{- end }}
{{- end }}

{{/* Whether a variable of edge or worker may be what a provider comes from: it stands in extraEnv, or a whole Secret or
ConfigMap is given, whose keys nobody sees here. Without a name any variable counts. Takes {root, variable}. */}}
{{- define "coatcheck.mayComeByVariable" -}}
{{- $variable := .variable }}
{{- range $entry := concat (list .root.Values .root.Values.edge .root.Values.worker) (values .root.Values.workers) }}
{{- with $entry }}
{{- if .extraEnvFrom }}yes{{ end }}
{{- range .extraEnv }}{{ if or (not $variable) (eq .name $variable) }}yes{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
