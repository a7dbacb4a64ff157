# Ruby's Net::HTTP, with its defaults.
require "net/http"
require "stringio"

base = URI(ARGV[0])
Net::HTTP.start(base.host, base.port) do |http|
  json = '{"model":"openai/m","input":"a text"}'
  submit = http.post("/v1/async/embeddings", json, "Content-Type" => "application/json")
  poll = http.get(submit["location"] || "/none")
  form = Net::HTTP::Post.new("/v1/async/images/variations")
  image = ["image", StringIO.new("\x01\x02"), { filename: "a.png", content_type: "image/png" }]
  form.set_form([%w[model openai/m], image], "multipart/form-data")
  puts "#{submit.code} #{poll.code} #{http.request(form).code}"
end
