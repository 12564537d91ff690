// 1 - erf(x), with a relative error under 1.2e-7.
fn erfc_4(x: vec4<f32>) -> vec4<f32> {
    let z = abs(x);
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = vec4<f32>(0.17087277);
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    p = p * t - 1.26551223;
    let tail = t * exp(max(p - z * z, vec4<f32>(-80.0)));
    return select(tail, 2.0 - tail, x < vec4<f32>(0.0));
}
fn erfc_1(x: f32) -> f32 { return erfc_4(vec4<f32>(x)).x; }
