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
{{- $served := list }}
{{- range $name, $entry := include "coatcheck.workers" . | fromYaml }}
{{- $served = concat $served ($entry.modalities | default (include "coatcheck.modalities" $ | splitList ",")) }}
{{- if and $entry.keda.enabled (not $.Values.keda.serverAddress) }}
{{- $problems = append $problems "keda: a worker is scaled by KEDA, so set keda.serverAddress to the address of your Prometheus" }}
{{- end }}
{{- if and $entry.keda.enabled (gt (int $entry.keda.minReplicas) (int $entry.keda.maxReplicas)) }}
{{- $problems = append $problems (printf "keda: minReplicas of worker %q is above its maxReplicas" $name) }}
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
