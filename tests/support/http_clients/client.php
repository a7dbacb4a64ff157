<?php
// PHP's curl, as most of its HTTP libraries use it.
$base = $argv[1];
$location = "/none";

function call(string $path, $body = null, array $headers = []): int
{
    global $base, $location;
    $curl = curl_init($base . $path);
    curl_setopt_array($curl, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => $headers,
        CURLOPT_HEADERFUNCTION => function ($curl, $line) use (&$location) {
            if (stripos($line, "location: ") === 0) {
                $location = trim(substr($line, 10));
            }
            return strlen($line);
        },
    ]);
    if ($body !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    }
    curl_exec($curl);
    return curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
}

$file = tempnam(sys_get_temp_dir(), "image");
file_put_contents($file, "\x01\x02");
$submit = call("/v1/async/embeddings", '{"model":"openai/m","input":"a text"}', ["Content-Type: application/json"]);
$poll = call($location);
$form = ["model" => "openai/m", "image" => new CURLFile($file, "image/png", "a.png")];
echo $submit, " ", $poll, " ", call("/v1/async/images/variations", $form), "\n";
unlink($file);
